"""The trials that a sweep lists, held in memory: of many folders only those that changed are read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nnray.store.files import at_a_time, is_object, seen_at_once
from nnray.store.listed_trial import ListedTrial, Stamp
from nnray.store.listing_file import read_listing, write_listing
from nnray.store.membership import trial_folders
from nnray.store.reading import read_folder, stamp_of
from nnray.store.reading_processes import read_in_processes, reading_processes
from nnray.trial.paths import StorePaths

Read = tuple[ListedTrial | None, str | None]
"""What a folder tells, or why it cannot be read."""

_SETTLED_S = 2.0
"""Age from which a file's time tells it from a later one: two writings within one tick of a clock look the same."""


class SweepListing:
    """The listed trials of one sweep.

    Attributes:
        damaged: Trials whose folders cannot be read, with the reason; they are left out of :meth:`trials`.
    """

    def __init__(self, store: StorePaths, sweep: str) -> None:
        self.store = store
        self.sweep = sweep
        self.damaged: dict[str, str] = {}
        self._listed: dict[str, ListedTrial] = {}

    def trials(self) -> list[ListedTrial]:
        """Return the trials in the order of the sweep."""
        return sorted(self._listed.values(), key=lambda entry: (entry.membership.position, entry.signature))

    def restore(self) -> bool:
        """Remember what :meth:`save` wrote, so that what has not changed since need not be read; tell if it was any."""
        restored = {entry.signature: entry for entry in read_listing(self.store, self.sweep)}
        self._listed = restored | self._listed
        return bool(restored)

    def save(self) -> None:
        """Write what the folders told, but for those that are running or changed just now."""
        settled = time.time_ns() - _SETTLED_S * 1e9
        kept = [
            entry
            for entry in self.trials()
            if entry.status != "running" and all(changed < settled for _, changed, _ in entry.stamp)
        ]
        write_listing(self.store, self.sweep, kept)

    def rescan(self, progress: Callable[[], None] = lambda: None) -> set[str]:
        """Look at every trial of the store; return the signatures that changed, those no longer listed among them.

        Where many folders have to be read, several processes do so; for a bucket, threads.

        Args:
            progress: Called once per trial that the sweep lists.
        """
        before = self._listed.keys() | self.damaged.keys()
        with seen_at_once(self.store.trials):
            found = [folder for folder in trial_folders(self.store) if folder.membership(self.sweep).exists()]
            stamps = {folder.signature: stamp_of(folder, self.sweep) for folder in found}
        changed = before - {folder.signature for folder in found}
        for signature in changed:
            self._forget(signature)
        stale = [signature for signature, stamp in stamps.items() if self._is_stale(signature, stamp)]
        for _ in range(len(found) - len(stale)):
            progress()
        if is_object(self.store.trials) or (processes := reading_processes(len(stale))) == 1:

            def read(signature: str) -> Read:
                return self._read(signature, stamps[signature])

            for signature, told in zip(stale, at_a_time(self.store.trials, read, stale), strict=True):
                if self._take(signature, told):
                    changed.add(signature)
                progress()
            return changed
        for entries, damaged in read_in_processes(self.store, self.sweep, stale, processes):
            changed |= {entry.signature for entry in entries if self._put(entry)}
            changed |= {signature for signature, reason in damaged.items() if self._note_damage(signature, reason)}
            for _ in (*entries, *damaged):
                progress()
        return changed

    def refresh(self, signatures: Iterable[str]) -> set[str]:
        """Look at the folders of ``signatures`` alone; return those whose rows changed."""
        return {signature for signature in signatures if self._look_at(signature)}

    def running(self) -> list[str]:
        """Return the signatures of the trials that a living process was running when they were last looked at."""
        return [signature for signature, entry in self._listed.items() if entry.status == "running"]

    def _look_at(self, signature: str) -> bool:
        """Read a folder if it has changed; return whether that changed anything."""
        stamp = stamp_of(self.store.trial(signature), self.sweep)
        return self._is_stale(signature, stamp) and self._take(signature, self._read(signature, stamp))

    def _read(self, signature: str, stamp: Stamp) -> Read:
        return read_folder(self.store.trial(signature), self.sweep, stamp, self._listed.get(signature))

    def _take(self, signature: str, told: Read) -> bool:
        """Take note of what a folder tells; return whether that changed anything."""
        known = self._listed.get(signature)
        entry, reason = told
        if reason is not None:
            return self._note_damage(signature, reason)
        if entry is None:
            self._forget(signature)
            return known is not None
        return self._put(entry)

    def _is_stale(self, signature: str, stamp: Stamp) -> bool:
        known = self._listed.get(signature)
        # Whether a trial still runs is told by a lock, which leaves no trace in the stamp.
        return known is None or known.stamp != stamp or known.status == "running"

    def _put(self, entry: ListedTrial) -> bool:
        known = self._listed.get(entry.signature)
        self.damaged.pop(entry.signature, None)
        self._listed[entry.signature] = entry
        return known is None or known.stamp != entry.stamp or known.status != entry.status

    def _note_damage(self, signature: str, reason: str) -> bool:
        changed = signature in self._listed or self.damaged.get(signature) != reason
        self._forget(signature)
        self.damaged[signature] = reason
        return changed

    def _forget(self, signature: str) -> None:
        self._listed.pop(signature, None)
        self.damaged.pop(signature, None)
