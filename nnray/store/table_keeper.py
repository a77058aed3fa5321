"""Keeps the tables of a sweep at what the trial folders say, reading again what changed and nothing else.

Several processes may do this for one sweep. Folders are read and tables written under a lock, so that whoever writes
last has seen at least what the others saw; each tells the others which trials changed, so that they look at no more.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from nnray.store.claim import exclusive
from nnray.store.files import remove_leftovers
from nnray.store.listed_trial import ListedTrial
from nnray.store.listing import SweepListing
from nnray.store.mlflow.place import one_line
from nnray.store.table_block import TABLES
from nnray.store.table_changes import Seen, TableChanges, TableStamp, read_changes, write_changes
from nnray.store.tables import TableBlocks, write_tables
from nnray.trial.paths import StorePaths

_logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file beside the tables whose lock is held while they are written."""
CHANGES = ".changes"
"""The file beside the tables that tells what changed in them last."""
SAVING_INTERVAL_S = 60.0
"""Least time between two writings of what spares the next command reading all folders."""


class TableKeeper:
    """The tables of one sweep.

    Nothing that goes wrong with a file raises here: it is logged once, and told by :attr:`problem`.

    Args:
        store: The store.
        sweep: The sweep's name.
        on_change: Called with the signatures of trials before what is new of them stands in the tables; at first, with
            those of all trials.

    Attributes:
        problem: Why the tables could not be written the last time, None if they were.
    """

    def __init__(self, store: StorePaths, sweep: str, on_change: Callable[[set[str]], None] = lambda _: None) -> None:
        self.problem: str | None = None
        self._on_change = on_change
        self._store = store
        self._sweep = sweep
        self._listing = SweepListing(store, sweep)
        self._blocks = TableBlocks()
        self._noted: set[str] = set()
        self._changed: set[str] = set()
        self._written: TableStamp | None = None
        self._seen: Seen | None = None
        self._save_at = 0.0

    @property
    def are_written(self) -> bool:
        """Whether this keeper has written the tables."""
        return self._written is not None

    @property
    def is_up_to_date(self) -> bool:
        """Whether the tables hold everything that was noted."""
        return self.are_written and not self._noted and not self._changed

    @property
    def damaged(self) -> dict[str, str]:
        """Trials whose folders cannot be read and that are in no table, with the reason."""
        return self._listing.damaged

    def trials(self) -> list[ListedTrial]:
        """Return the trials in the order of the sweep."""
        return self._listing.trials()

    def running(self) -> list[str]:
        """Return the signatures of the trials that a living process was running when they were last looked at."""
        return self._listing.running()

    def note(self, signature: str) -> None:
        """Take note that the folder of the trial ``signature`` changed; it need not be one that was there before."""
        self._noted.add(signature)

    def update(self, everything: bool = False) -> None:
        """Read the folders that were noted, or all of them, and write what that changes.

        A keeper that has not written before begins with what the last one left, so that of folders that have not
        changed since nothing but the times of their files is looked at.
        """
        try:
            with exclusive(self._lock()):
                first, before = not self.are_written, self._stamp()
                if first and self._listing.restore():
                    self._save_at = time.monotonic() + SAVING_INTERVAL_S
                changes = read_changes(self._changes, before)
                others: frozenset[str] | None = frozenset()
                if before != self._written:  # another command wrote the tables
                    others = changes.since(self._seen) if changes is not None else None
                if everything or first or others is None:
                    self._changed |= self._listing.rescan()
                else:
                    self._changed |= self._listing.refresh(self._noted | others)
                self._noted = set()
                if first or others is None or self._changed:
                    self._write(changes, everything=first)
                elif changes is not None:
                    self._written, self._seen = before, changes.seen
                if time.monotonic() >= self._save_at:
                    self._save()
            self.problem = None
        except Exception as error:  # a full disk, say: training goes on, and the next call tries again
            if self.problem is None:
                _logger.warning("nnray: the tables of %s could not be written: %s", self._sweep, one_line(error))
            self.problem = one_line(error)

    def rebuild(self, progress: Callable[[], None] = lambda: None) -> None:
        """Write the tables from the folders alone.

        Args:
            progress: Called for each trial whose folder was read.
        """
        try:
            with exclusive(self._lock()):
                changes = read_changes(self._changes, self._stamp())
                self._changed = self._listing.rescan(progress)
                self._write(changes)
                self._save()
        except OSError as error:
            self.problem = one_line(error)

    def save(self) -> None:
        """Leave what spares the next command reading all folders."""
        with contextlib.suppress(OSError), exclusive(self._lock()):
            self._save()

    def _lock(self) -> Path:
        folder = self._store.table(self._sweep, TABLES[-1]).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder / LOCK

    @property
    def _changes(self) -> Path:
        return self._store.table(self._sweep, TABLES[-1]).with_name(CHANGES)

    def _write(self, before: TableChanges | None, everything: bool = False) -> None:
        """Write the tables and what changed in them; tell of that, or of ``everything`` that stands in them."""
        trials = self._listing.trials()
        if not self.are_written:
            remove_leftovers(self._changes.parent)
        self._on_change(self._changed | {listed.signature for listed in trials if everything})
        write_tables(self._store, self._sweep, trials, self._blocks)
        self._written, self._seen = self._stamp(), None
        with contextlib.suppress(OSError):  # others look at all folders then
            if self._written is not None:
                self._seen = write_changes(self._changes, self._written, before, self._changed)
        self._changed = set()

    def _save(self) -> None:
        self._save_at = time.monotonic() + SAVING_INTERVAL_S
        with contextlib.suppress(OSError):  # the next command reads the folders then
            self._listing.save()

    def _stamp(self) -> TableStamp | None:
        """Return what tells the tables that this keeper wrote from those of another command, also of a killed one.

        Whoever writes begins with the first table and ends with the last one.
        """
        try:
            stats = [self._store.table(self._sweep, kind).stat() for kind in (TABLES[0], TABLES[-1])]
        except OSError:
            return None
        return tuple(number for stat in stats for number in (stat.st_ino, stat.st_mtime_ns))
