"""What nobody needs any more: of a trial, and of a store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from nnray.errors import ConfigurationError, StoreError
from nnray.store.claim import is_claimed
from nnray.store.files import modified
from nnray.store.membership import sweeps_of
from nnray.store.record import Record
from nnray.store.space.references import Reference
from nnray.store.space.removal import Removal, existing, size_of
from nnray.store.weights import kept_epochs
from nnray.trial.merging import read_configuration_file
from nnray.trial.paths import StorePaths, TrialPaths

LEFTOVERS = "left half written by killed processes"
STATES = "resume states of completed trials"
UNLISTED = "checkpoints and states of trials that no sweep lists"
COMMANDS = "notes of commands that are gone"
CODE = "code and lists of packages that no trial refers to"

_QUICK_S = 60.0
"""What is written in no time, and is older, was left by a kill."""
_SLOW_S = 3600.0
"""The same for what may take its time, or is referred to only later."""


def waste_of_trial(
    paths: TrialPaths, record: Record | None, now: float, keep: Collection[Reference], unlisted: bool
) -> list[Removal]:
    """Return what can go of a trial that nobody trains.

    Args:
        paths: Its folder.
        record: Its record.
        now: The time by the store's clock.
        keep: Checkpoints that stay.
        unlisted: Whether the checkpoints of a trial that no sweep lists can go.
    """
    folders = (paths.folder, paths.checkpoints, paths.memberships)
    found = [removal for folder in folders for removal in _leftovers(folder, now, _QUICK_S, paths)]
    if unlisted and not sweeps_of(paths):
        loose = [path for epoch, path in kept_epochs(paths).items() if (paths.signature, epoch) not in keep]
        found += [
            Removal(UNLISTED, each.path, each.size, paths, still=lambda: not sweeps_of(paths))
            for each in existing(UNLISTED, [*loose, *_states(paths)], paths)
        ]
    elif record is not None and record.status == "completed":
        states = existing(STATES, _states(paths), paths)
        if states and not _keeps_state(paths):
            found += states
    return found


def waste_of_store(store: StorePaths, records: Iterable[Record] | None, now: float) -> list[Removal]:
    """Return what can go of a store beside its trials.

    Args:
        store: The store.
        records: Those of all its trials; None if some cannot be read, so that nobody knows what they refer to.
        now: The time by the store's clock.
    """
    folders = [
        store.root,
        store.trials,
        *_folders(store.tables),
        store.commands,
        store.root / "code",
        store.root / "packages",
    ]
    found = [removal for folder in folders for removal in _leftovers(folder, now, _SLOW_S)]
    for analysis in _folders(store.analysis):
        for folder in (analysis, *_folders(analysis)):
            found += _leftovers(folder, now, _SLOW_S)
    found += _dead_commands(store, now)
    if records is not None:
        found += _unused_code(store, list(records), now)
    return found


def _leftovers(folder: Path, now: float, age_s: float, trial: TrialPaths | None = None) -> list[Removal]:
    """Return what :func:`nnray.store.files.replacing` and its like had not finished when they were killed."""
    paths = [path for pattern in (".*.part*", ".*.unfinished") for path in _matching(folder, pattern)]
    return existing(LEFTOVERS, [path for path in paths if _age(path, now) > age_s], trial)


def _dead_commands(store: StorePaths, now: float) -> list[Removal]:
    found = []
    for path in _matching(store.commands, "*.json"):
        if _age(path, now) > _QUICK_S and _is_dead(path):
            paths = [path.with_suffix(".stop"), path]
            still = partial(_is_dead, path)
            found += [Removal(COMMANDS, each, size_of(each), still=still) for each in paths if each.exists()]
    return found


def _is_dead(path: Path) -> bool:
    with contextlib.suppress(ValueError, OSError):
        return not is_claimed(path) and "sweep" in json.loads(path.read_text(encoding="utf-8") or "{}")
    return False


def _unused_code(store: StorePaths, records: list[Record], now: float) -> list[Removal]:
    code = {record.code for record in records}
    packages = {record.packages for record in records}
    unused = [folder for folder in _folders(store.root / "code") if folder.name not in code]
    unused += [path for path in _matching(store.root / "packages", "*.txt") if path.stem not in packages]
    # Those of a command that has just begun: its first trial has not said so yet.
    return existing(CODE, [path for path in unused if _age(path, now) > _SLOW_S])


def _states(paths: TrialPaths) -> list[Path]:
    return [paths.resume, paths.snapshot, paths.exploit_state]


def _keeps_state(paths: TrialPaths) -> bool:
    try:
        return bool(read_configuration_file(paths.config).get("checkpoint", {}).get("keep_state"))
    except (ConfigurationError, StoreError, OSError, AttributeError):
        return True  # nobody knows


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _age(path: Path, now: float) -> float:
    try:
        return now - modified(path)
    except OSError:
        return 0.0
