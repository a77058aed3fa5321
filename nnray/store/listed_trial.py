"""What a sweep's tables hold of one trial, read from its folder once and small enough to keep for each of 10,000."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from nnray.store.columns import INT64, Kinds, held_array, json_text, kinds_of
from nnray.store.held_rows import HeldRows
from nnray.store.membership import Membership
from nnray.store.metrics_log import ROW_KEYS, Row, best_value, default_mode
from nnray.store.record import Cause, Status
from nnray.store.stored_trial import StoredTrial
from nnray.trial.paths import TrialPaths

Stamp = tuple[tuple[int, int, int], ...]

TIMESTAMP = pa.timestamp("us", tz="UTC")
_TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Microseconds since 1970 in the years 1 to 9999, which pandas and others can show."""


class Outcome(NamedTuple):
    """What a trial's record says of its end, as the table of trials has it."""

    error: str | None
    attempts: int
    started: datetime | None
    ended: datetime | None
    duration_s: float | None
    host: str | None
    git_commit: str | None
    cause: Cause | None


class Layout(NamedTuple):
    """The metrics of a trial in the order in which they first appear, and the kinds of the values of each."""

    names: tuple[str, ...] = ()
    kinds: tuple[Kinds, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """The rows of a trial in the order of epochs.

    Attributes:
        layout: The metrics.
        rows: The epochs (int64), the optimizer's steps (int64, null where a row has none), when the epochs ended (null
            where a row doesn't tell), and each metric, of the type in which its kinds are held without loss.
        last: The last value of each metric that is not null.
        best: The best value of each metric.
    """

    layout: Layout
    rows: HeldRows
    last: tuple[Any, ...]
    best: tuple[float | None, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], membership: Membership) -> Metrics:
        """Return what ``rows`` say, in this order; the best value of the sweep's metric follows the sweep's mode."""
        keys = dict.fromkeys(key for row in rows for key in row)
        names = tuple(sys.intern(key) for key in keys if key not in ROW_KEYS)
        columns = [[row.get(name) for row in rows] for name in names]
        kinds = tuple(kinds_of(column) for column in columns)
        arrays = [
            pa.array([row["epoch"] for row in rows], pa.int64()),
            pa.array([_integer(row.get("step")) for row in rows], pa.int64()),
            pa.array([_microseconds(row.get("time")) for row in rows], pa.int64()).cast(TIMESTAMP),
            *(held_array(column, kind) for column, kind in zip(columns, kinds, strict=True)),
        ]
        return cls(
            layout=shared(Layout(names, kinds)),
            rows=HeldRows(arrays),
            last=tuple(plain(next((v for v in reversed(column) if v is not None), None)) for column in columns),
            best=tuple(_best(membership, name, column) for name, column in zip(names, columns, strict=True)),
        )


class Checkpoints(NamedTuple):
    """The kept checkpoints of a trial in the order of epochs, each as 64-bit integers.

    Attributes:
        epochs: The epochs.
        sizes: The files' sizes in bytes.
        rows: Which of the trial's rows of metrics is the epoch's, -1 where there is none.
    """

    epochs: array[int]
    sizes: array[int]
    rows: array[int]

    @classmethod
    def of(cls, *columns: Sequence[int]) -> Checkpoints:
        """Return checkpoints with these epochs, sizes and rows."""
        return cls(*(array("q", column) for column in columns))


@dataclass(frozen=True, slots=True)
class ListedTrial:
    """A trial and its place in a sweep, as its folder told them at one moment.

    Attributes:
        sweep: The sweep's name.
        membership: The trial's place in it, without what a searcher was told.
        paths: The trial's folder.
        stamp: What tells this state of the folder from others.
        status: What became of the trial.
        outcome: What its record says of that.
        flat_config: The resolved configuration by dotted keys; lists and mappings as JSON.
        metrics: A row per finished epoch.
        checkpoints: The kept checkpoints.
    """

    sweep: str
    membership: Membership
    paths: TrialPaths
    stamp: Stamp
    status: Status
    outcome: Outcome
    flat_config: dict[str, Any]
    metrics: Metrics
    checkpoints: Checkpoints

    @property
    def signature(self) -> str:
        """The trial's short signature."""
        return self.paths.signature

    @property
    def trial(self) -> StoredTrial:
        """All of the trial, as its folder tells it when it is asked."""
        return StoredTrial(self.paths)


def plain(value: Any) -> Any:
    """Return a value that JSON can hold and that takes little room: lists and mappings as text, which columns want."""
    return value if type(value) in (bool, int, float, str, type(None)) else json_text(value)


def shared_text(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration in which keys and text that many trials have are kept once."""
    return {sys.intern(key): sys.intern(value) if type(value) is str else value for key, value in flat.items()}


@lru_cache(maxsize=4096)
def shared(layout: Layout) -> Layout:
    """Return the one layout that all trials with the same metrics have."""
    return layout


def _best(membership: Membership, metric: str, values: Sequence[Any]) -> float | None:
    mode = membership.mode if metric == membership.metric else None
    return best_value([value for value in values if type(value) in (int, float)], mode or default_mode(metric))


def _integer(value: Any) -> int | None:
    return value if type(value) is int and value in INT64 else None


def _microseconds(value: Any) -> int | None:
    """Return seconds since 1970 as microseconds; None for what is no time."""
    if type(value) not in (int, float) or not abs(value) < 1e12:  # NaN is not
        return None
    microseconds = round(value * 1e6)
    return microseconds if microseconds in _TIMES else None
