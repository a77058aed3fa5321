"""Keeps the checkpoints of a sweep within its budget while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from nnray.counting import counted
from nnray.sizes import size_text
from nnray.store.membership import members
from nnray.store.space import Budget, Excess, Removal, referenced, remove_all
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import Result
from nnray.trial.paths import StorePaths

_SHARE = 0.05
"""Largest part of the time that is spent on looking what there is."""


class SpaceKeeper:
    """Looks in a thread of its own, whenever trials have ended, whether checkpoints have to go; an observer.

    Nothing that goes wrong raises: it is told by :attr:`line`, and tried again the next time.

    Args:
        store: The store.
        sweep: The sweep's name.
        limit: The bytes that its checkpoints may have.
        note: Called, from the thread of the caller, with the signature of each trial that has fewer checkpoints.
    """

    def __init__(self, store: StorePaths, sweep: str, limit: int, note: Callable[[str], None]) -> None:
        self._store, self._sweep, self._limit = store, sweep, limit
        self._note = note
        self._budget = Budget(limit, {sweep})
        self._thread: threading.Thread | None = None
        self._not_before = 0.0
        self._removed: list[Removal] = []
        self._untold: list[str] = []
        self._excess: Excess | None = None
        self._problem: str | None = None

    def started(self, trial: PlannedTrial) -> None:
        """See :class:`nnray.sweep.observer.Observer`."""

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`nnray.sweep.observer.Observer`."""

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """Have a look, unless that is being done, or was just now."""
        if (self._thread is not None and self._thread.is_alive()) or time.monotonic() < self._not_before:
            return
        self._tell()
        self._thread = threading.Thread(target=self._keep, name="nnray-space", daemon=True)
        self._thread.start()

    def left(self, trial: PlannedTrial, why: str) -> None:
        """See :class:`nnray.sweep.observer.Observer`."""

    def waiting(self, elsewhere: int) -> None:
        """See :class:`nnray.sweep.observer.Observer`."""

    def close(self) -> None:
        """Have a last look, and tell of it."""
        if self._thread is not None:
            self._thread.join()
        self._keep()
        self._tell()

    @property
    def line(self) -> str:
        """What has gone, for people."""
        limit = size_text(self._limit)
        if self._problem is not None:
            return f"space: checkpoints could not be kept within {limit}: {self._problem}"
        size = size_text(sum(removal.size for removal in self._removed))
        line = f"space: {counted(len(self._removed), 'checkpoints')} ({size}) went to keep within {limit}"
        if self._excess is not None and self._excess.is_over:
            line += f"; the {size_text(self._excess.left)} that are left are last, best or needed, and stay"
        return line

    def _keep(self) -> None:
        begun = time.monotonic()
        try:
            excess = self._budget.excess(members(self._store, self._sweep), ())
            if excess.removals:
                # Asked late, and only where something would go: an analysis may have begun meanwhile.
                excess = self._budget.excess(members(self._store, self._sweep), referenced(self._store))
            removed = remove_all(excess.removals)
            self._budget.forget(removed)
            self._removed += removed
            self._untold += [removal.trial.signature for removal in removed if removal.trial is not None]
            self._excess, self._problem = excess, None
        except Exception as error:
            self._problem = " ".join(str(error).split())
        self._not_before = time.monotonic() + (time.monotonic() - begun) / _SHARE

    def _tell(self) -> None:
        """Called while no thread runs."""
        for signature in dict.fromkeys(self._untold):
            self._note(signature)
        self._untold.clear()
