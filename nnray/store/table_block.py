"""The rows that some consecutive trials add to the tables of their sweep.

Which columns a table has, and of which type, depends on all its trials. So a block first tells what its trials have,
and makes its rows once the columns of the whole tables are known. It makes them anew for each writing: what stays in
memory is what the trials' folders told, once.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nnray.store.columns import Kinds, cast, common_type, free_name, held_array, kinds_of, string_array
from nnray.store.held_rows import put_together
from nnray.store.listed_trial import TIMESTAMP, Layout, ListedTrial
from nnray.store.metrics_log import HYPER, ROW_KEYS
from nnray.trial.paths import checkpoint_name

TABLES = ("metrics", "checkpoints", "trials")
"""The tables in the order in which they are written: a trial's row comes after the rows that it sums up."""
CONFIG, BEST = "config/", "best/"
"""What the names of configuration keys and of best values begin with in the table of trials."""

_OF_TRIALS = {
    **dict.fromkeys(("trial", "name", "sweep", "status", "error"), pa.string()),
    "attempts": pa.int64(),
    "started": TIMESTAMP,
    "ended": TIMESTAMP,
    "duration_s": pa.float64(),
    **dict.fromkeys(("host", "git_commit", "cause"), pa.string()),
}
FIXED = tuple(_OF_TRIALS)
"""The columns that every table of trials begins with."""
_COORDINATES = {"epoch": pa.int64(), "step": pa.int64(), "time": TIMESTAMP}
_OF_METRICS = ("trial", *_COORDINATES)
_OF_CHECKPOINTS = ("trial", "epoch", "step", "path", "bytes")


class Column(NamedTuple):
    """A column that not every table has: what it is called, what stands in it, and its type."""

    name: str
    key: str
    dtype: pa.DataType


@dataclass(frozen=True)
class TableColumns:
    """The columns of the tables of a sweep behind those that every table has.

    Attributes:
        config: Of trials, the configuration.
        last: Of trials, the last value of each metric.
        best: Of trials, the best value of each metric.
        metrics: Of metrics.
        checkpoints: Of checkpoints.
    """

    config: tuple[Column, ...]
    last: tuple[Column, ...]
    best: tuple[Column, ...]
    metrics: tuple[Column, ...]
    checkpoints: tuple[Column, ...]

    @classmethod
    def of(cls, blocks: Sequence[TableBlock]) -> TableColumns:
        """Return the columns of tables that are made of ``blocks``, in the order in which each first appears."""
        config = _union(block.config for block in blocks)
        rows, last, best = (_union(kinds) for kinds in zip(*(block.metrics for block in blocks), strict=True))
        wanted = {metric: None for block in blocks for metric in block.wanted}
        metrics = list(dict.fromkeys([*rows, *wanted]))  # those that the sweep names are never missing
        in_trials = [*FIXED, *(CONFIG + key for key in config)]
        named = _free_names(metrics, in_trials, {BEST + metric for metric in metrics})
        in_rows = [metric for metric in metrics if metric not in ROW_KEYS]
        of_metrics = _free_names(in_rows, _OF_METRICS)
        of_checkpoints = _free_names(in_rows, _OF_CHECKPOINTS)
        return cls(
            config=tuple(Column(CONFIG + key, key, common_type(kinds, pa.string())) for key, kinds in config.items()),
            last=tuple(Column(name, key, _type(last, key)) for key, name in named.items()),
            best=tuple(Column(BEST + key, key, _type(best, key)) for key in metrics if not key.startswith(HYPER)),
            metrics=tuple(Column(name, key, _type(rows, key)) for key, name in of_metrics.items()),
            checkpoints=tuple(Column(name, of_metrics[key], _type(rows, key)) for key, name in of_checkpoints.items()),
        )


class _Group(NamedTuple):
    """The trials of a block that have the same metrics.

    Attributes:
        layout: The metrics.
        trials: Which trials of the block.
        arrays: Epoch, step, time and each metric of all of them, as they are held.
    """

    layout: Layout
    trials: tuple[int, ...]
    arrays: list[pa.Array]


class TableBlock:
    """What consecutive trials of a sweep add to its tables.

    Args:
        trials: The trials in their order.
    """

    def __init__(self, trials: Sequence[ListedTrial]) -> None:
        self._trials = tuple(trials)
        self._made: tuple[TableColumns, pa.Table] | None = None
        by_layout: dict[Layout, list[int]] = {}
        for number, listed in enumerate(trials):
            by_layout.setdefault(listed.metrics.layout, []).append(number)
        self._groups = [
            _Group(layout, tuple(numbers), put_together([trials[number].metrics.rows for number in numbers]))
            for layout, numbers in by_layout.items()
        ]

    def is_of(self, trials: Sequence[ListedTrial]) -> bool:
        """Tell whether the block is of these very objects."""
        return len(trials) == len(self._trials) and all(map(operator.is_, trials, self._trials))

    @cached_property
    def config(self) -> dict[str, Kinds]:
        """The keys of the trials' configurations, with the kinds of their values."""
        configs = [listed.flat_config for listed in self._trials]
        keys = dict.fromkeys(key for config in configs for key in config)
        return {key: kinds_of([config.get(key) for config in configs]) for key in keys}

    @cached_property
    def metrics(self) -> tuple[dict[str, Kinds], dict[str, Kinds], dict[str, Kinds]]:
        """The trials' metrics, with the kinds of all their values, of the last ones, and of the best ones."""
        layouts = [group.layout for group in self._groups]
        rows = _union(dict(zip(layout.names, layout.kinds, strict=True)) for layout in layouts)
        return (
            rows,
            {metric: kinds_of(self._last(metric)) for metric in rows},
            {metric: kinds_of(self._best(metric)) for metric in rows},
        )

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The metrics that the sweep looks at."""
        return tuple(dict.fromkeys(listed.membership.metric for listed in self._trials if listed.membership.metric))

    def table(self, kind: str, columns: TableColumns) -> pa.Table:
        """Return the block's rows of the table of a ``kind`` with ``columns``, which are those of the whole table."""
        if kind == "metrics":
            return self._metrics(columns)
        if kind == "checkpoints":
            return self._checkpoints(columns)
        if self._made is None or self._made[0] != columns:  # a row per trial, out of many small objects
            self._made = columns, self._table(columns)
        return self._made[1]

    def _table(self, columns: TableColumns) -> pa.Table:
        """Return a row per trial: what became of it, its configuration, and each metric's last and best value."""
        trials = self._trials
        values: dict[str, list[Any]] = {
            "trial": [listed.signature for listed in trials],
            "name": [listed.membership.name for listed in trials],
            "sweep": [listed.sweep for listed in trials],
            "status": [listed.status for listed in trials],
        }
        values |= {name: [getattr(listed.outcome, name) for listed in trials] for name in FIXED if name not in values}
        arrays = {
            name: string_array(values[name]) if dtype == pa.string() else pa.array(values[name], dtype)
            for name, dtype in _OF_TRIALS.items()
        }
        found = [(column, [listed.flat_config.get(column.key) for listed in trials]) for column in columns.config]
        found += [(column, self._last(column.key)) for column in columns.last]
        found += [(column, self._best(column.key)) for column in columns.best]
        for column, of_trials in found:
            arrays[column.name] = cast(held_array(of_trials, kinds_of(of_trials)), column.dtype)
        return pa.table(arrays)

    def _metrics(self, columns: TableColumns) -> pa.Table:
        """Return a row per trial and finished epoch."""
        dtypes = _COORDINATES | {column.name: column.dtype for column in columns.metrics}
        parts: dict[str, list[pa.Array]] = {name: [] for name in dtypes}
        for group in self._groups:
            for name, array in zip(_COORDINATES, group.arrays, strict=False):
                parts[name].append(array)
            held = dict(zip(group.layout.names, group.arrays[len(_COORDINATES) :], strict=True))
            for name, key, dtype in columns.metrics:
                rows = len(group.arrays[0])
                parts[name].append(cast(held[key], dtype) if key in held else pa.nulls(rows, dtype))
        table = pa.table({name: _joined(arrays, dtypes[name]) for name, arrays in parts.items()})
        counts = [listed.metrics.rows.count for listed in self._trials]
        if len(self._groups) > 1:
            table = table.take(pa.array(self._order(counts)))
        return table.add_column(0, "trial", self._signatures(counts))

    def _order(self, counts: Sequence[int]) -> np.ndarray:
        """Return where the rows of the trials, in their order, stand in the groups."""
        grouped = [number for group in self._groups for number in group.trials]
        starts = dict(zip(grouped, np.cumsum([0, *(counts[number] for number in grouped)])[:-1], strict=True))
        return np.concatenate([np.arange(counts[number]) + starts[number] for number in range(len(counts))])

    def _checkpoints(self, columns: TableColumns) -> pa.Table:
        """Return a row per kept checkpoint, with the metrics of its epoch.

        ``path`` is absolute, so that it can be opened from anywhere. A store that was moved gets right paths from
        ``nnray rebuild``; :meth:`nnray.store.Store.checkpoints` gives right ones in any case.
        """
        paths: list[str] = []
        rows: list[int | None] = []
        start = 0
        for listed in self._trials:
            folder = str(listed.paths.checkpoints) if listed.checkpoints.epochs else ""
            paths += [f"{folder}/{checkpoint_name(epoch)}" for epoch in listed.checkpoints.epochs]
            rows += [None if row < 0 else start + row for row in listed.checkpoints.rows]
            start += listed.metrics.rows.count
        if not rows and self._trials:  # as is usual for some blocks: their rows of metrics need not be made
            return EMPTY._checkpoints(columns)
        found = self._metrics(columns).take(pa.array(rows, pa.int64()))
        kept = [listed.checkpoints for listed in self._trials]
        arrays = {
            "trial": self._signatures([len(each.epochs) for each in kept]),
            "epoch": pa.array([epoch for each in kept for epoch in each.epochs], pa.int64()),
            "step": found["step"],
            "path": pa.array(paths, pa.string()),
            "bytes": pa.array([size for each in kept for size in each.sizes], pa.int64()),
        }
        return pa.table(arrays | {column.name: found[column.key] for column in columns.checkpoints})

    def _places(self, metric: str) -> list[int | None]:
        """Return where each trial has ``metric``, None where it hasn't."""
        places: list[int | None] = [None] * len(self._trials)
        for group in self._groups:
            if metric in group.layout.names:
                at = group.layout.names.index(metric)
                for number in group.trials:
                    places[number] = at
        return places

    def _last(self, metric: str) -> list[Any]:
        pairs = zip(self._places(metric), self._trials, strict=True)
        return [None if at is None else listed.metrics.last[at] for at, listed in pairs]

    def _best(self, metric: str) -> list[float | None]:
        pairs = zip(self._places(metric), self._trials, strict=True)
        return [None if at is None else listed.metrics.best[at] for at, listed in pairs]

    def _signatures(self, counts: Sequence[int]) -> pa.Array:
        """Return each trial's signature so many times."""
        signatures = string_array([listed.signature for listed in self._trials])
        return signatures.take(pa.array(np.repeat(np.arange(len(counts)), counts)))


EMPTY = TableBlock(())
"""A block without trials: it tells the schemas of tables."""


def _free_names(keys: Sequence[str], taken: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """Return a name per key, in order: the key itself, or one that differs from those ``taken`` and ``reserved``."""
    unfree = {*taken, *reserved}
    names = {}
    for key in keys:
        names[key] = free_name(key, unfree)
        unfree.add(names[key])
    return names


def _union(parts: Iterable[Mapping[str, Kinds]]) -> dict[str, Kinds]:
    union: dict[str, Kinds] = {}
    for part in parts:
        for key, kinds in part.items():
            union[key] = union.get(key, frozenset()) | kinds
    return union


def _type(kinds: Mapping[str, Kinds], metric: str) -> pa.DataType:
    return common_type(kinds.get(metric, frozenset()), pa.float64())


def _joined(arrays: Sequence[pa.Array], dtype: pa.DataType) -> pa.Array:
    return pa.concat_arrays(arrays) if arrays else pa.array([], dtype)
