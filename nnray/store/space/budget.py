"""A bound on what the checkpoints of many trials take up, and which of them go so that it is kept.

Only of trials that are completed or were stopped, and that no sweep beside the ones in question lists, do any go, and
never a trial's last one, nor its best, nor one that an analysis was made of. Of the rest they go in this order: those
of the trial that ended first come first, and of a trial the earliest epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import at_a_time, seen_at_once
from nnray.store.membership import Membership, sweeps_of
from nnray.store.metrics_log import default_mode
from nnray.store.record import Record
from nnray.store.space.references import Reference
from nnray.store.space.removal import Removal, size_of
from nnray.store.stored_trial import StoredTrial
from nnray.store.weights import kept_epochs
from nnray.trial.keep_rule import KeepRule
from nnray.trial.paths import TrialPaths

INTERMEDIATE = "checkpoints over the budget"


@dataclass(frozen=True)
class Excess:
    """How checkpoints stand to a budget.

    Attributes:
        total: The bytes of all checkpoints, before anything goes.
        removals: What goes so that the budget is kept, in order.
        left: The bytes that remain.
        limit: The bytes that there may be.
    """

    total: int
    removals: tuple[Removal, ...]
    left: int
    limit: int

    @property
    def is_over(self) -> bool:
        """Whether the budget is exceeded all the same: what is left must not go."""
        return self.left > self.limit


@dataclass(frozen=True)
class _Kept:
    """The checkpoints of a trial.

    Attributes:
        sizes: Bytes by epoch.
        spare: Epochs that can go, as far as no analysis needs them; none while the trial is not finished.
        ended: When the trial ended.
    """

    paths: TrialPaths
    sizes: dict[int, int]
    spare: tuple[int, ...]
    ended: datetime


class Budget:
    """Finds what goes; a trial that has ended is read once.

    Args:
        limit: How many bytes the checkpoints may have.
        sweeps: The sweeps that share the budget; None for all of the store.
        gone: Files that are going anyway.
    """

    def __init__(self, limit: int, sweeps: Collection[str] | None = None, gone: Collection[Path] = ()) -> None:
        self._limit = limit
        self._sweeps = None if sweeps is None else frozenset(sweeps)
        self._gone = frozenset(gone)
        self._finished: dict[str, _Kept] = {}

    def excess(
        self,
        folders: Iterable[TrialPaths],
        needed: Collection[Reference],
        on_read: Callable[[], None] = lambda: None,
    ) -> Excess:
        """Return what is to go of the trials in ``folders``, which share the budget.

        Args:
            folders: The trials' folders.
            needed: Checkpoints that stay, since analyses were made of them.
            on_read: Called for each trial.
        """
        folders, found = list(folders), []
        if folders:
            for kept in at_a_time(folders[0].folder, self._kept, folders):
                found.append(kept)
                on_read()
        total = left = sum(sum(kept.sizes.values()) for kept in found)
        removals = []
        for kept in sorted(found, key=lambda kept: (kept.ended, kept.paths.signature)):
            for epoch in kept.spare:
                if left > self._limit and (kept.paths.signature, epoch) not in needed and epoch in kept.sizes:
                    size = kept.sizes[epoch]
                    removals.append(Removal(INTERMEDIATE, kept.paths.checkpoint(epoch), size, kept.paths))
                    left -= size
        return Excess(total, tuple(removals), left, self._limit)

    def forget(self, removed: Iterable[Removal]) -> None:
        """Take note of what has gone."""
        for removal in removed:
            if removal.trial is not None:
                self._finished.pop(removal.trial.signature, None)

    def _kept(self, folder: TrialPaths) -> _Kept:
        known = self._finished.get(folder.signature)
        if known is not None:
            return known
        record = _record(folder)
        with seen_at_once(folder.folder):
            kept = {epoch: path for epoch, path in kept_epochs(folder).items() if path not in self._gone}
            sizes = {epoch: size_of(path) for epoch, path in kept.items()}
        if record is None or record.status not in ("completed", "stopped"):
            return _Kept(folder, sizes, (), datetime.max.replace(tzinfo=UTC))
        ended = record.ended or datetime.min.replace(tzinfo=UTC)
        return self._finished.setdefault(
            folder.signature, _Kept(folder, sizes, self._spare(folder, list(sizes)), ended)
        )

    def _spare(self, folder: TrialPaths, epochs: list[int]) -> tuple[int, ...]:
        sweeps = sweeps_of(folder)
        if len(epochs) < 2 or (self._sweeps is not None and not self._sweeps.issuperset(sweeps)):
            return ()
        best = {epoch for sweep in sweeps for epoch in _best(folder, sweep, epochs)}
        return tuple(epoch for epoch in epochs if epoch not in best | {max(epochs)})


def _best(folder: TrialPaths, sweep: str, epochs: list[int]) -> set[int]:
    """Return the epoch that is best by the metric of a sweep."""
    try:
        membership = Membership.read(folder, sweep)
        metric = membership.metric if membership is not None else None
        if membership is None or metric is None:
            return set()
        rows = {row["epoch"]: row.get(metric) for row in StoredTrial(folder).rows}
    except StoreError:
        return set(epochs)  # nobody knows
    values = {epoch: _number(rows.get(epoch)) for epoch in epochs}
    return KeepRule("top").chosen(epochs, values, membership.mode or default_mode(metric))


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _record(folder: TrialPaths) -> Record | None:
    try:
        return Record.read(folder.record)
    except StoreError:
        return None
