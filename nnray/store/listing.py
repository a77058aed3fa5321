"""The trials that a sweep lists, held in memory: of many folders only those that changed are read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from nnray.errors import StoreError
from nnray.store.membership import Membership, trial_folders
from nnray.store.record import Record
from nnray.store.stored_trial import StoredTrial
from nnray.trial.merging import flatten
from nnray.trial.paths import StorePaths, TrialPaths

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class ListedTrial:
    """A trial and its place in a sweep, as its folder told them at one moment."""

    sweep: str
    membership: Membership
    trial: StoredTrial

    @property
    def signature(self) -> str:
        """The trial's short signature."""
        return self.trial.paths.signature

    @cached_property
    def flat_config(self) -> dict[str, Any]:
        """The resolved configuration by dotted keys."""
        return flatten(self.trial.config)


class SweepListing:
    """The listed trials of one sweep.

    Attributes:
        damaged: Trials whose folders cannot be read, with the reason; they are left out of :meth:`trials`.
    """

    def __init__(self, store: StorePaths, sweep: str) -> None:
        self.store = store
        self.sweep = sweep
        self.damaged: dict[str, str] = {}
        self._listed: dict[str, tuple[Stamp, ListedTrial]] = {}

    def trials(self) -> list[ListedTrial]:
        """Return the trials in the order of the sweep."""
        listed = (entry for _, entry in self._listed.values())
        return sorted(listed, key=lambda entry: (entry.membership.position, entry.signature))

    def rescan(self, progress: Callable[[], None] = lambda: None) -> set[str]:
        """Look at every trial of the store; return the signatures that changed, those no longer listed among them.

        ``progress`` is called once per trial that the sweep lists.
        """
        before = self._listed.keys() | self.damaged.keys()
        found = [folder for folder in trial_folders(self.store) if folder.membership(self.sweep).exists()]
        gone = before - {folder.signature for folder in found}
        for signature in gone:
            self._forget(signature)
        changed = set(gone)
        for folder in found:
            if self._read(folder):
                changed.add(folder.signature)
            progress()
        return changed

    def refresh(self, signatures: Iterable[str]) -> set[str]:
        """Look at the folders of ``signatures`` alone; return those whose rows changed."""
        return {signature for signature in signatures if self._read(self.store.trial(signature))}

    def running(self) -> list[str]:
        """Return the signatures of the trials that a living process was running when they were last looked at."""
        return [signature for signature, (_, entry) in self._listed.items() if entry.trial.status == "running"]

    def _forget(self, signature: str) -> None:
        self._listed.pop(signature, None)
        self.damaged.pop(signature, None)

    def _read(self, folder: TrialPaths) -> bool:
        signature = folder.signature
        stamp, known = _stamp(folder, self.sweep), self._listed.get(signature)
        # Whether a trial still runs is told by a lock, which leaves no trace in the stamp.
        if known and known[0] == stamp and known[1].trial.status != "running":
            return False
        try:
            entry = read_trial(folder, self.sweep)
        except (StoreError, OSError) as error:
            changed = known is not None or self.damaged.get(signature) != str(error)
            self._forget(signature)
            self.damaged[signature] = str(error)
            return changed
        self._forget(signature)
        if entry is None:
            return known is not None
        self._listed[signature] = (stamp, entry)
        return known is None or known[0] != stamp or known[1].trial.status != entry.trial.status


def read_trial(folder: TrialPaths, sweep: str) -> ListedTrial | None:
    """Return what the folder of a trial tells now, None if ``sweep`` does not list it; StoreError if it is damaged."""
    membership = Membership.read(folder, sweep)
    if membership is None:
        return None
    trial = StoredTrial(folder)
    # The record comes first: where it says "completed", the rows and checkpoints read after it are all there.
    _check_types(trial.record, folder.record)
    assert trial.status
    if not trial.config:
        raise StoreError(f"{folder.config} is empty")
    assert trial.rows is not None
    assert trial.checkpoints is not None
    return ListedTrial(sweep, membership, trial)


_RECORD_TYPES: dict[str, tuple[type, ...]] = {
    "error": (str,),
    "attempts": (int,),
    "started": (datetime,),
    "ended": (datetime,),
    "duration_s": (int, float),
    "host": (str,),
    "git_commit": (str,),
    "cause": (str,),
}


def _check_types(record: Record, path: Path) -> None:
    """One ill-typed record must not spoil a table for all the others."""
    for name, types in _RECORD_TYPES.items():
        value = getattr(record, name)
        if value is not None and type(value) not in types:
            raise StoreError(f"{path} is damaged: {name} is {value!r}")


def _stamp(folder: TrialPaths, sweep: str) -> Stamp:
    """Return what changes with the folder: a file that is replaced gets another inode, one that grows another size."""
    paths = (folder.record, folder.metrics, folder.config, folder.membership(sweep), folder.checkpoints)
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
