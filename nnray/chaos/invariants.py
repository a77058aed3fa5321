"""What must hold after every episode, whatever went wrong in it. Each function returns what does not hold, in words."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.chaos.contents import Stamp, TrialContents, stamp_of
from nnray.chaos.launcher import Command
from nnray.errors import StoreError
from nnray.store.weights import load_weights
from nnray.trial.paths import StorePaths, TrialPaths

if TYPE_CHECKING:
    import pandas as pd

_FOR_GC = {"crash.txt", "resume.ckpt"}
"""What a kill behind the last word of a trial's record can leave, for ``nnray gc`` to remove."""
_WITHOUT_LOCK = {"mlflow-queue", "sweeps", "packages", "code"}
"""Folders in which a half-written file, as at the store's root, may be somebody's who is at work, until it is old."""


def same_results(found: Mapping[str, TrialContents], expected: Mapping[str, TrialContents], kills: int) -> list[str]:
    """Every trial is there, complete, with the rows and weights of a run without faults, and no more files."""
    broken = [f"trial {signature} is not there" for signature in expected.keys() - found.keys()]
    broken += [f"there is a trial {signature} that nobody asked for" for signature in found.keys() - expected.keys()]
    for signature in sorted(expected.keys() & found.keys()):
        broken += [f"trial {signature}: {what}" for what in differences(found[signature], expected[signature], kills)]
    return broken


def differences(found: TrialContents, expected: TrialContents, kills: int) -> list[str]:
    """Return in what a trial departs from the same one without faults."""
    if found.status != expected.status:
        return [f"is {found.status}"]
    broken = []
    if found.attempts > expected.attempts + kills:
        broken.append(f"was attempted {found.attempts} times after {kills} losses")
    if found.config != expected.config:
        broken.append("has another configuration than without faults")
    if found.rows != expected.rows:
        epochs = ", ".join(found.epochs)
        same = found.epochs == expected.epochs
        broken.append("has other metrics than without faults" if same else f"has rows of the epochs {epochs or 'none'}")
    if found.weights != expected.weights:
        others = sorted({epoch for epoch, _ in found.weights.items() ^ expected.weights.items()})
        broken.append(f"has other weights than without faults in the epochs {', '.join(map(str, others))}")
    whole = {name for name in found.files if ".part" not in name}  # what is half written: no_leftovers()
    if more := whole - expected.files - _FOR_GC:
        broken.append(f"has files left over: {', '.join(sorted(more))}")
    return broken


def told_or_repaired(
    paths: TrialPaths, found: TrialContents, expected: TrialContents, kills: int, outputs: Iterable[str]
) -> list[str]:
    """A trial that was damaged is as it was, or whoever asks for it hears that it is not."""
    wrong = differences(found, expected, kills + 1)
    if not wrong or any(paths.signature in output for output in outputs):
        return []
    if wrong == differences(dataclasses.replace(expected, weights=found.weights), expected, kills):  # the weights alone
        changed = [epoch for epoch in expected.weights if found.weights.get(epoch) != expected.weights[epoch]]
        wrong = [f"has other weights in epoch {epoch}" for epoch in changed if not _is_refused(paths.checkpoint(epoch))]
    return [f"trial {paths.signature}, which was damaged, {what}, and nothing tells of it" for what in wrong]


def _is_refused(checkpoint: Path) -> bool:
    try:
        load_weights(checkpoint)
    except StoreError:
        return True
    return False


def untouched(store: StorePaths, finished: Mapping[str, Stamp]) -> list[str]:
    """What was finished before was not trained again."""
    return [
        f"trial {signature} was complete, and its files were written again"
        for signature, stamp in finished.items()
        if (paths := store.trial(signature)).record.exists() and stamp_of(paths) != stamp
    ]


def same_tables(found: Mapping[str, pd.DataFrame], rebuilt: Mapping[str, pd.DataFrame]) -> list[str]:
    """The tables are what ``nnray rebuild`` makes of the folders."""
    return [
        f"{kind}.parquet differs from the one that nnray rebuild makes"
        for kind in found
        if not found[kind].equals(rebuilt[kind])
    ]


def one_run_each(store: StorePaths, sweep: str, signatures: Iterable[str]) -> list[str]:
    """MLflow has one run per trial, which is finished."""
    query = """
        SELECT tags.value, runs.status FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'nnray.trial'
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE runs.lifecycle_stage = 'active' AND experiments.name = ? ORDER BY tags.value
    """
    address = f"{store.mlflow_database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as database:
            runs = database.execute(query, (sweep,)).fetchall()
    except sqlite3.Error as error:
        return [f"{store.mlflow_database.name} cannot be read: {error}"]
    expected = [(signature, "FINISHED") for signature in sorted(signatures)]
    return [] if runs == expected else [f"MLflow has the runs {runs} for {len(expected)} trials"]


def no_leftovers(store: StorePaths) -> list[str]:
    """Nothing is left that was half written, but where several processes write without a lock: there it is gc's."""
    half = [path.relative_to(store.root) for path in store.root.rglob(".*") if ".part" in path.name]
    return [f"left over: {path}" for path in half if path.parent.parts and not _WITHOUT_LOCK & set(path.parts)]


def well_behaved(commands: Iterable[Command]) -> list[str]:
    """No command printed a traceback, nor left a process behind."""
    broken = []
    for command in commands:
        if "Traceback (most recent call last)" in command.output:
            broken.append(f"{command.log.name} has a traceback")
        if left := command.wait_for_session(20.0):
            broken.append(f"nnray {command.words[0]} left {len(left)} processes behind")
            command.kill_session()
    return broken
