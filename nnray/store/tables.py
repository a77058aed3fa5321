"""Parquet tables of a sweep: a row per trial, per epoch and per kept checkpoint, made from what the folders say.

A metric whose name a column of the table has already (a metric called ``status``, say) stands under ``metric/<name>``.
Every table carries the version of nnray, the sweep and its metric in its schema's metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pyarrow as pa

from nnray.store.columns import Kind, cast, common_type, free_name, infer_array, string_array
from nnray.store.listed_trial import TIMESTAMP, Layout, ListedTrial
from nnray.store.metrics_log import HYPER, ROW_KEYS, default_mode
from nnray.store.parquet_file import write_parquet
from nnray.trial.paths import StorePaths, checkpoint_name

CONFIG, BEST = "config/", "best/"
"""What the names of configuration keys and of best values begin with in the table of trials."""
FIXED = (
    *("trial", "name", "sweep", "status", "error", "attempts"),
    *("started", "ended", "duration_s", "host", "git_commit", "cause"),
)
"""The columns that every table of trials begins with."""
TABLES = ("metrics", "checkpoints", "trials")
"""The tables in the order in which they are written: a trial's row comes after the rows that it sums up."""

METRIC_KEY, MODE_KEY = "nnray.metric", "nnray.mode"
"""Where a table's metadata tells the metric that the sweep looks at."""

_COORDINATES = 4
"""The table of metrics begins with so many columns that are no metrics."""


def sweeps_with_tables(store: StorePaths) -> list[str]:
    """Return the names of the sweeps that have tables, in order."""
    return sorted(path.parent.name for path in store.tables.glob(f"*/{TABLES[-1]}.parquet"))


def write_tables(store: StorePaths, sweep: str, trials: Sequence[ListedTrial]) -> None:
    """Write the three tables of ``sweep``, each in one step.

    Args:
        store: The store.
        sweep: The sweep's name.
        trials: Its trials, in the order of the rows.
    """
    metadata = _provenance(sweep, trials)
    metrics = metrics_table(trials)
    checkpoints = checkpoints_table(trials, metrics)
    for kind, table in zip(TABLES, (metrics, checkpoints, trials_table(trials)), strict=True):
        path = store.table(sweep, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(table.replace_schema_metadata(metadata), path)


def trials_table(trials: Sequence[ListedTrial]) -> pa.Table:
    """Return the table of trials: what became of each, its configuration, and each metric's last and best value."""
    outcomes = [listed.outcome for listed in trials]
    columns = {
        "trial": string_array([listed.signature for listed in trials]),
        "name": string_array([listed.membership.name for listed in trials]),
        "sweep": string_array([listed.sweep for listed in trials]),
        "status": string_array([listed.status for listed in trials]),
        "error": string_array([outcome.error for outcome in outcomes]),
        "attempts": pa.array([outcome.attempts for outcome in outcomes], pa.int64()),
        "started": pa.array([outcome.started for outcome in outcomes], TIMESTAMP),
        "ended": pa.array([outcome.ended for outcome in outcomes], TIMESTAMP),
        "duration_s": pa.array([outcome.duration_s for outcome in outcomes], pa.float64()),
        "host": string_array([outcome.host for outcome in outcomes]),
        "git_commit": string_array([outcome.git_commit for outcome in outcomes]),
        "cause": string_array([outcome.cause for outcome in outcomes]),
    }
    configs = [listed.flat_config for listed in trials]
    for key in dict.fromkeys(key for config in configs for key in config):
        columns[CONFIG + key] = infer_array([config.get(key) for config in configs], if_all_null=pa.string())

    layouts, of_trials = _layouts(trials)
    metrics = _metric_names(trials)
    reserved = {*columns, *(BEST + metric for metric in metrics)}
    found = {}
    for metric in metrics:
        places = [layout.names.index(metric) if metric in layout.names else None for layout in layouts]
        found[metric] = [places[number] for number in of_trials]
        pairs = zip(found[metric], trials, strict=True)
        last = [None if at is None else listed.metrics.last[at] for at, listed in pairs]
        columns[free_name(metric, {*reserved, *columns})] = infer_array(last, if_all_null=pa.float64())
    for metric in metrics:
        if metric.startswith(HYPER):
            continue
        pairs = zip(found[metric], trials, strict=True)
        best = [None if at is None else listed.metrics.best[at] for at, listed in pairs]
        columns[BEST + metric] = infer_array(best, if_all_null=pa.float64())
    return pa.table(columns)


def metrics_table(trials: Sequence[ListedTrial]) -> pa.Table:
    """Return the table of metrics: a row per trial and finished epoch."""
    columns = {
        "trial": _signatures(trials, [len(listed.metrics.epochs) for listed in trials]),
        "epoch": _joined([listed.metrics.epochs for listed in trials], pa.int64()),
        "step": _joined([listed.metrics.steps for listed in trials], pa.int64()),
        "time": _joined([listed.metrics.times for listed in trials], TIMESTAMP),
    }
    layouts, of_trials = _layouts(trials)
    for metric in _row_metrics(trials):
        places = [layout.names.index(metric) if metric in layout.names else None for layout in layouts]
        present = [layout.kinds[place] for layout, place in zip(layouts, places, strict=True) if place is not None]
        dtype = common_type(frozenset[Kind]().union(*present), if_all_null=pa.float64())
        arrays = []
        for listed, number in zip(trials, of_trials, strict=True):
            place = places[number]
            held = pa.nulls(len(listed.metrics.epochs)) if place is None else listed.metrics.values[place]
            arrays.append(cast(held, dtype))
        columns[free_name(metric, columns)] = _joined(arrays, dtype)
    return pa.table(columns)


def checkpoints_table(trials: Sequence[ListedTrial], metrics: pa.Table) -> pa.Table:
    """Return the table of kept checkpoints, with the metrics of their epochs.

    ``path`` is absolute, so that it can be opened from anywhere. A store that was moved gets right paths from
    ``nnray rebuild``; :meth:`nnray.store.Store.checkpoints` gives right ones in any case.

    Args:
        trials: The trials.
        metrics: Their table of metrics.
    """
    paths, rows, start = [], [], 0
    for listed in trials:
        folder = str(listed.paths.checkpoints) if listed.checkpoints.epochs else ""
        paths += [f"{folder}/{checkpoint_name(epoch)}" for epoch in listed.checkpoints.epochs]
        rows += [None if row is None else start + row for row in listed.checkpoints.rows]
        start += len(listed.metrics.epochs)
    found = metrics.take(pa.array(rows, pa.int64()))
    columns = {
        "trial": _signatures(trials, [len(listed.checkpoints.epochs) for listed in trials]),
        "epoch": pa.array([epoch for listed in trials for epoch in listed.checkpoints.epochs], pa.int64()),
        "step": found["step"],
        "path": pa.array(paths, pa.string()),
        "bytes": pa.array([size for listed in trials for size in listed.checkpoints.sizes], pa.int64()),
    }
    of_metrics = found.column_names[_COORDINATES:]
    for metric, name in zip(_row_metrics(trials), of_metrics, strict=True):
        columns[free_name(metric, columns)] = found[name]
    return pa.table(columns)


def _layouts(trials: Sequence[ListedTrial]) -> tuple[list[Layout], list[int]]:
    """Return the different layouts of the trials, and which of them each trial has."""
    numbers: dict[Layout, int] = {}
    of_trials = [numbers.setdefault(listed.metrics.layout, len(numbers)) for listed in trials]
    return list(numbers), of_trials


def _metric_names(trials: Sequence[ListedTrial]) -> list[str]:
    """Return the metrics in the order in which they first appear; those that the sweep names are never missing."""
    names = dict.fromkeys(name for layout in dict.fromkeys(t.metrics.layout for t in trials) for name in layout.names)
    wanted = dict.fromkeys(listed.membership.metric for listed in trials)
    return list(names | {metric: None for metric in wanted if metric})


def _row_metrics(trials: Sequence[ListedTrial]) -> list[str]:
    return [metric for metric in _metric_names(trials) if metric not in ROW_KEYS]


def _signatures(trials: Sequence[ListedTrial], counts: Sequence[int]) -> pa.Array:
    """Return each trial's signature so many times."""
    signatures = string_array([listed.signature for listed in trials])
    return signatures.take(pa.array(np.repeat(np.arange(len(trials)), counts)))


def _joined(arrays: Sequence[pa.Array], dtype: pa.DataType) -> pa.Array:
    return pa.concat_arrays(arrays) if arrays else pa.array([], dtype)


def _provenance(sweep: str, trials: Sequence[ListedTrial]) -> dict[str, str]:
    memberships = [listed.membership for listed in trials if listed.membership.metric]
    metadata = {"nnray.version": nnray_version(), "nnray.sweep": sweep}
    if memberships:
        metric = str(memberships[0].metric)
        metadata |= {METRIC_KEY: metric, MODE_KEY: memberships[0].mode or default_mode(metric)}
    return metadata


def nnray_version() -> str:
    """Return the version of nnray, or ``unknown`` where it runs without being installed."""
    try:
        return version("nnray")
    except PackageNotFoundError:
        return "unknown"
