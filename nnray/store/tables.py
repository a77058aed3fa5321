"""Parquet tables of a sweep: a row per trial, per epoch and per kept checkpoint, made from what the folders say.

A metric whose name a column of the table has already (a metric called ``status``, say) stands under ``metric/<name>``.
Every table carries the version of nnray, the sweep and its metric in its schema's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nnray.store.columns import free_name, infer_array, string_array
from nnray.store.files import replacing
from nnray.store.listing import ListedTrial
from nnray.store.metrics_log import HYPER, ROW_KEYS, Row, best_value, default_mode, metrics_of
from nnray.trial.paths import StorePaths

TIMESTAMP = pa.timestamp("us", tz="UTC")
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    builders: dict[str, Callable[[StorePaths, Sequence[ListedTrial]], pa.Table]] = {
        "metrics": metrics_table,
        "checkpoints": checkpoints_table,
        "trials": trials_table,
    }
    metadata = _provenance(sweep, trials)
    for kind in TABLES:
        table = builders[kind](store, trials).replace_schema_metadata(metadata)
        path = store.table(sweep, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            pq.write_table(table, beside)


def trials_table(store: StorePaths, trials: Sequence[ListedTrial]) -> pa.Table:
    """Return the table of trials: what became of each, its configuration, and each metric's last and best value."""
    records = [listed.trial.record for listed in trials]
    columns = {
        "trial": string_array([listed.signature for listed in trials]),
        "name": string_array([listed.membership.name for listed in trials]),
        "sweep": string_array([listed.sweep for listed in trials]),
        "status": string_array([listed.trial.status for listed in trials]),
        "error": string_array([record.error for record in records]),
        "attempts": pa.array([record.attempts for record in records], pa.int64()),
        "started": pa.array([record.started for record in records], TIMESTAMP),
        "ended": pa.array([record.ended for record in records], TIMESTAMP),
        "duration_s": pa.array([record.duration_s for record in records], pa.float64()),
        "host": string_array([record.host for record in records]),
        "git_commit": string_array([record.git_commit for record in records]),
        "cause": string_array([record.cause for record in records]),
    }
    configs = [listed.flat_config for listed in trials]
    for key in _union(configs):
        columns[CONFIG + key] = infer_array([config.get(key) for config in configs], if_all_null=pa.string())

    histories = [_histories(listed.trial.rows) for listed in trials]
    metrics = _union([*histories, _sweep_metrics(trials)])
    reserved = {*columns, *(BEST + metric for metric in metrics)}
    for metric in metrics:
        last = [next(reversed(history.get(metric, [])), None) for history in histories]
        columns[free_name(metric, {*reserved, *columns})] = infer_array(last, if_all_null=pa.float64())
    for metric in metrics:
        if metric.startswith(HYPER):
            continue
        found = zip(trials, histories, strict=True)
        best = [_best(listed, metric, history.get(metric, [])) for listed, history in found]
        columns[BEST + metric] = infer_array(best, if_all_null=pa.float64())
    return pa.table(columns)


def metrics_table(store: StorePaths, trials: Sequence[ListedTrial]) -> pa.Table:
    """Return the table of metrics: a row per trial and finished epoch."""
    rows = [(listed.signature, row) for listed in trials for row in _in_order(listed.trial.rows)]
    columns = {
        "trial": string_array([signature for signature, _ in rows]),
        "epoch": pa.array([row["epoch"] for _, row in rows], pa.int64()),
        "step": pa.array([_integer(row.get("step")) for _, row in rows], pa.int64()),
        "time": pa.array([_timestamp(row.get("time")) for _, row in rows], TIMESTAMP),
    }
    metrics = _union([*(row for _, row in rows), _sweep_metrics(trials)])
    return pa.table(columns | _metric_columns([row for _, row in rows], metrics, columns))


def checkpoints_table(store: StorePaths, trials: Sequence[ListedTrial]) -> pa.Table:
    """Return the table of kept checkpoints, with the metrics of their epochs.

    ``path`` is absolute, so that it can be opened from anywhere. A store that was moved gets right paths from
    ``nnray rebuild``; :meth:`nnray.store.Store.checkpoints` gives right ones in any case.
    """
    kept = [(listed, checkpoint) for listed in trials for checkpoint in listed.trial.checkpoints]
    by_epoch = {listed.signature: {row["epoch"]: row for row in listed.trial.rows} for listed in trials}
    rows = [by_epoch[listed.signature].get(checkpoint["epoch"], {}) for listed, checkpoint in kept]
    columns = {
        "trial": string_array([listed.signature for listed, _ in kept]),
        "epoch": pa.array([checkpoint["epoch"] for _, checkpoint in kept], pa.int64()),
        "step": pa.array([_integer(row.get("step")) for row in rows], pa.int64()),
        "path": string_array([str(store.root / checkpoint["path"]) for _, checkpoint in kept]),
        "bytes": pa.array([checkpoint["bytes"] for _, checkpoint in kept], pa.int64()),
    }
    metrics = _union([*rows, _sweep_metrics(trials)])
    return pa.table(columns | _metric_columns(rows, metrics, columns))


def _metric_columns(rows: Sequence[Row], metrics: Iterable[str], fixed: Iterable[str]) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for metric in metrics:
        if metric not in ROW_KEYS:
            name = free_name(metric, {*fixed, *columns})
            columns[name] = infer_array([row.get(metric) for row in rows], if_all_null=pa.float64())
    return columns


def _union(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all keys, in the order in which they first appear."""
    return list({key: None for mapping in mappings for key in mapping})


def _sweep_metrics(trials: Sequence[ListedTrial]) -> dict[str, None]:
    """Return the metrics that the sweep names: they have a column before there is a value."""
    return {listed.membership.metric: None for listed in trials if listed.membership.metric}


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["epoch"])


def _histories(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the values of each metric in the order of epochs, null left out."""
    histories: dict[str, list[Any]] = {}
    for row in _in_order(rows):
        for metric, value in metrics_of(row).items():
            values = histories.setdefault(metric, [])
            if value is not None:
                values.append(value)
    return histories


def _best(listed: ListedTrial, metric: str, values: list[Any]) -> float | None:
    mode = listed.membership.mode if metric == listed.membership.metric else None
    numbers = [value for value in values if type(value) in (int, float)]
    return best_value(numbers, mode or default_mode(metric))


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _timestamp(value: Any) -> datetime | None:
    """Return seconds since 1970 as a time, to the microsecond; None for what is no time."""
    try:
        return _EPOCH + timedelta(microseconds=round(value * 1e6))
    except (TypeError, ValueError, OverflowError):
        return None


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
