"""One episode: a study is begun, something goes wrong, it is finished, and what must hold is checked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from nnray.chaos.contents import Stamp, contents_of, finished_trials, tables_of
from nnray.chaos.faults.damage import trial_of
from nnray.chaos.faults.fault import Fault
from nnray.chaos.invariants import (
    no_leftovers,
    one_run_each,
    same_results,
    same_tables,
    told_or_repaired,
    untouched,
    well_behaved,
)
from nnray.chaos.launcher import Command
from nnray.chaos.reader import Findings, reading
from nnray.chaos.stage import TIMEOUT_S, Stage
from nnray.store.files import is_local, remove_tree


@dataclass(frozen=True)
class Episode:
    """How an episode went.

    Attributes:
        fault: The fault's name.
        seed: What it is repeated with.
        deeds: What was done.
        kills: How many attempts at trials were killed at most.
        reads: How many tables were read meanwhile.
        broken: What did not hold; empty if all is well.
        seconds: How long it took.
        folder: Where its store and the output of its commands are, if they were kept.
    """

    fault: str
    seed: int
    deeds: tuple[str, ...]
    kills: int
    reads: int
    broken: tuple[str, ...]
    seconds: float
    folder: Path | None


def play(fault: Fault, stage: Stage, seed: int, keep: bool) -> Episode:
    """Play an episode in ``stage.folder``, which is removed afterwards unless something is broken, or with ``keep``."""
    started = time.monotonic()
    stage.folder.mkdir(parents=True)
    findings = Findings()
    with fault.ground(stage):
        watch = nullcontext(findings) if fault.damages else reading(stage.launcher.context, stage.store.tables)
        with watch as findings:
            fault.strike(stage)
            broken = _finish(fault, stage)
        broken += stage.broken + findings.problems
        broken += well_behaved(stage.commands)
    kept = bool(broken) or keep
    if kept:
        findings_file = stage.folder / "findings.txt"
        lines = [*stage.deeds, "", *broken, "", f"store: {stage.store.root}", ""]
        findings_file.write_text("\n".join(lines), encoding="utf-8")
    else:
        remove_tree(stage.store.root)
        shutil.rmtree(stage.folder, ignore_errors=True)
    seconds = time.monotonic() - started
    deeds, folder = tuple(stage.deeds), stage.folder if kept else None
    return Episode(fault.name, seed, deeds, stage.kills, findings.reads, tuple(broken), seconds, folder)


def _finish(fault: Fault, stage: Stage) -> list[str]:
    """Run the study to its end, as a person does, and return what does not hold then."""
    finished = finished_trials(stage.store)
    command = stage.sweep()
    status = stage.end_of(command)
    if status == 1 and (fault.fails_trials or fault.damages):
        command = stage.sweep("--retry-failed")
        status = stage.end_of(command)
    if status != 0 and not fault.damages:
        return [_failure(command)]
    for earlier in stage.commands:  # a bookkeeper whose command was killed may still be at work
        earlier.wait_for_session(TIMEOUT_S)
    return _damage_done(stage, finished) if fault.damages else _all_as_without(stage, finished)


def _all_as_without(stage: Stage, finished: Mapping[str, Stamp]) -> list[str]:
    store, study = stage.store, stage.study
    broken = same_results(contents_of(store), study.trials, stage.kills)
    broken += untouched(store, finished)
    if is_local(store.root):  # else MLflow is off
        broken += one_run_each(store, study.sweep, study.trials)
    broken += no_leftovers(store)
    tables = tables_of(store, study.sweep)
    rebuild = stage.start("rebuild", study.sweep)
    if stage.end_of(rebuild) != 0:
        return [*broken, _failure(rebuild)]
    return broken + same_tables(tables, tables_of(store, study.sweep))


def _damage_done(stage: Stage, finished: dict[str, Stamp]) -> list[str]:
    """What was damaged is repaired or has been told of, and nothing else has suffered."""
    assert stage.damaged is not None
    store, study, hurt = stage.store, stage.study, trial_of(stage.damaged)
    stage.end_of(stage.start("rebuild", study.sweep))
    finished.pop(hurt or "", None)
    found, expected = contents_of(store), dict(study.trials)
    broken = untouched(store, finished)
    if hurt is not None:
        outputs = [command.output for command in stage.commands]
        both = found.pop(hurt), expected.pop(hurt)
        broken += told_or_repaired(store.trial(hurt), *both, stage.kills, outputs)
    broken += same_results(found, expected, stage.kills)
    listed = set(tables_of(store, study.sweep)["trials"]["trial"])
    return broken + [f"trial {signature} is in no table" for signature in sorted(expected.keys() - listed)]


def _failure(command: Command) -> str:
    last = next(reversed(command.output.strip().splitlines()), "nothing printed")
    return f"nnray {command.words[0]} after the fault ended with status {command.status}: {last}"
