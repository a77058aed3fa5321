"""What a sweep's tables hold of one trial, read from its folder once and small enough to keep for each of 10,000."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from nnray.store.columns import INT64, Kinds, held_array, json_text, kinds_of
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
        epochs: The epochs (int64).
        steps: The optimizer's steps (int64), null where a row has none.
        times: When the epochs ended, null where a row doesn't tell.
        values: An array per metric, of the type in which its kinds are held without loss.
        last: The last value of each metric that is not null.
        best: The best value of each metric.
    """

    layout: Layout
    epochs: pa.Array
    steps: pa.Array
    times: pa.Array
    values: tuple[pa.Array, ...]
    last: tuple[Any, ...]
    best: tuple[float | None, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], membership: Membership) -> Metrics:
        """Return what ``rows`` say; the best value of the sweep's metric follows the sweep's mode."""
        rows = sorted(rows, key=lambda row: row["epoch"])
        keys = dict.fromkeys(key for row in rows for key in row)
        names = tuple(sys.intern(key) for key in keys if key not in ROW_KEYS)
        columns = [[row.get(name) for row in rows] for name in names]
        kinds = tuple(kinds_of(column) for column in columns)
        return cls(
            layout=_shared(Layout(names, kinds)),
            epochs=pa.array([row["epoch"] for row in rows], pa.int64()),
            steps=pa.array([_integer(row.get("step")) for row in rows], pa.int64()),
            times=pa.array([_microseconds(row.get("time")) for row in rows], pa.int64()).cast(TIMESTAMP),
            values=tuple(held_array(column, kind) for column, kind in zip(columns, kinds, strict=True)),
            last=tuple(plain(next((v for v in reversed(column) if v is not None), None)) for column in columns),
            best=tuple(_best(membership, name, column) for name, column in zip(names, columns, strict=True)),
        )


class Checkpoints(NamedTuple):
    """The kept checkpoints of a trial in the order of epochs.

    Attributes:
        epochs: The epochs.
        sizes: The files' sizes in bytes.
        rows: Which of the trial's rows of metrics is the epoch's, None where there is none.
    """

    epochs: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    rows: tuple[int | None, ...] = ()


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


@lru_cache(maxsize=4096)
def _shared(layout: Layout) -> Layout:
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
