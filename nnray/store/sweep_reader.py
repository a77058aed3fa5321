"""How far a sweep is, from its table of trials and the folders of the trials that run: quick at 10,000 trials too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from nnray.errors import StoreError, did_you_mean
from nnray.store.files import at_a_time, readable
from nnray.store.metrics_log import Row, best_value, default_mode, metrics_of
from nnray.store.progress import SweepProgress, TrialProgress, rate_of, sweep_left_s
from nnray.store.record import Status
from nnray.store.stored_trial import StoredTrial
from nnray.store.table_block import BEST, CONFIG
from nnray.store.table_files import check_plain
from nnray.store.tables import METRIC_KEY, MODE_KEY, sweeps_with_tables
from nnray.trial.paths import StorePaths

_READ = ("trial", "name", "status", "error", "ended", "duration_s")
_MAX_EPOCHS = f"{CONFIG}trainer.max_epochs"


@dataclass(frozen=True)
class _Table:
    """What is read of the table of trials."""

    names: tuple[str, ...]
    metric: str | None
    mode: str | None
    columns: dict[str, list[Any]]
    stamp: tuple[int, int]

    @property
    def metric_column(self) -> str | None:
        """The column of the last values of the sweep's metric."""
        prefixed = f"metric/{self.metric}"
        return prefixed if prefixed in self.names else self.metric


class SweepReader:
    """Reads the progress of a sweep again and again; a table that has not changed is read once.

    Args:
        store: The store.
        sweep: The sweep's name.

    Raises:
        StoreError: If the sweep has no tables; the message names the nearest one that has.
    """

    def __init__(self, store: StorePaths, sweep: str) -> None:
        self._store = store
        self._sweep = sweep
        self._path = store.table(sweep, "trials")
        if sweep not in (sweeps := sweeps_with_tables(store)):
            hint = did_you_mean(sweep, sweeps) or "; nnray rebuild makes tables from the trial folders"
            raise StoreError(f"there is no sweep {sweep!r} in {store.root}{hint}")
        self._columns: tuple[str, ...] = ()
        self._table = self._read()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table of trials."""
        return self._table.names

    @property
    def metric(self) -> str | None:
        """The column of the sweep's metric in the table of trials, None if the sweep names none."""
        return self._table.metric_column

    def choose(self, columns: Iterable[str]) -> None:
        """Have each trial's ``values`` hold ``columns`` (by their full names) too, beside the sweep's metric."""
        self._columns = tuple(columns)
        self._table = self._read()

    def read(self, rows: int = 20) -> SweepProgress:
        """Return the progress, with at most ``rows`` running, finished and failed trials each."""
        self._table = self._read(self._table)
        table, columns = self._table, self._table.columns
        statuses: list[Status] = list(columns["status"])
        running: list[TrialProgress] = []
        told_running = [index for index, status in enumerate(statuses) if status == "running"]
        for index, trial in zip(told_running, self._all_now(told_running), strict=True):
            statuses[index] = trial.status
            if trial.status == "running":
                running.append(trial)
        finished = [index for index, status in enumerate(statuses) if status in ("completed", "stopped")]
        failed = [index for index, status in enumerate(statuses) if status == "failed"]
        latest = sorted(failed, key=lambda index: _seconds(columns["ended"][index]), reverse=True)
        pending = [index for index, status in enumerate(statuses) if status == "pending"]
        timed = [index for index in finished if columns["duration_s"][index] is not None]
        return SweepProgress(
            sweep=self._sweep,
            metric=table.metric,
            counts=Counter(statuses),
            causes=Counter(cause for index in failed if (cause := columns["cause"][index])),
            running=tuple(running[:rows]),
            finished=self._all_now(self._best_first(finished)[:rows]),
            failed=self._all_now(latest[:rows]),
            left_s=sweep_left_s(
                running,
                self._epochs(pending),
                sum(columns["duration_s"][index] for index in timed),
                self._epochs(timed),
                len(running),
            ),
        )

    def _read(self, known: _Table | None = None) -> _Table:
        """Return the table, which is ``known`` if that is what the file holds."""
        try:
            stamp = self._stamp()
            if known is not None and known.stamp == stamp:
                return known
            with pq.ParquetFile(readable(self._path)) as file:
                check_plain(file.schema_arrow, self._path)
                names, metadata = tuple(file.schema_arrow.names), file.schema_arrow.metadata or {}
                metric, mode = (metadata.get(key.encode(), b"").decode() or None for key in (METRIC_KEY, MODE_KEY))
                table = _Table(names, metric, mode, {}, stamp)
                wanted = [*_READ, _MAX_EPOCHS, "cause", *self._value_columns(table)]
                found = file.read(columns=[name for name in dict.fromkeys(wanted) if name in names])
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            reason = " ".join(str(error).split())
            raise StoreError(f"{self._path} cannot be read (nnray rebuild makes it anew): {reason}") from error
        missing: list[Any] = [None] * found.num_rows
        columns = {name: found[name].to_pylist() if name in found.column_names else missing for name in wanted}
        return replace(table, columns=columns)

    def _value_columns(self, table: _Table) -> tuple[str, ...]:
        metrics = (table.metric_column, BEST + table.metric_column) if table.metric_column else ()
        return tuple(dict.fromkeys(name for name in (*metrics, *self._columns) if name in table.names))

    def _stamp(self) -> tuple[int, int]:
        stat = self._path.stat()
        return (stat.st_ino, stat.st_mtime_ns)

    def _epochs(self, indices: Sequence[int]) -> int:
        return sum(self._table.columns[_MAX_EPOCHS][index] or 0 for index in indices)

    def _best_first(self, indices: Sequence[int]) -> list[int]:
        """Order by the best value of the sweep's metric; the last to end first where there is none."""
        columns, metric = self._table.columns, self._table.metric_column
        if metric is None:
            return sorted(indices, key=lambda index: _seconds(columns["ended"][index]), reverse=True)
        values = np.array([_number(columns[BEST + metric][index]) for index in indices], dtype=float)
        sign = -1.0 if (self._table.mode or default_mode(metric)) == "max" else 1.0
        return [indices[place] for place in np.argsort(sign * values, kind="stable")]  # NaN comes last

    def _all_now(self, indices: Sequence[int]) -> tuple[TrialProgress, ...]:
        return tuple(at_a_time(self._store.trials, self._now, indices))

    def _now(self, index: int) -> TrialProgress:
        """Return the trial in a row of the table, brought up to what its folder says."""
        columns = self._table.columns
        row = {name: values[index] for name, values in columns.items()}
        stored = StoredTrial(self._store.trial(row["trial"]))
        known = TrialProgress(
            row["trial"],
            row["name"],
            row["status"],
            epochs=row[_MAX_EPOCHS],
            duration_s=row["duration_s"],
            error=row["error"],
            values={name: row[name] for name in self._value_columns(self._table)},
        )
        try:
            record, status, rows = stored.record, stored.status, stored.rows
        except StoreError:  # a damaged folder must not hide the others
            return known
        times = [row["time"] for row in rows if isinstance(row.get("time"), float)]
        if len(times) == 1 and record.started is not None and record.attempts == 1:
            times = [record.started.timestamp(), *times]
        return replace(
            known,
            status=status,
            epoch=rows[-1]["epoch"] + 1 if rows else 0,
            rate=rate_of(times),
            duration_s=record.duration_s if status != "running" else None,
            error=record.error,
            values={**known.values, **self._metrics(rows, known.values)},
        )

    def _metrics(self, rows: Sequence[Row], wanted: Iterable[str]) -> dict[str, float | None]:
        """Return those of the ``wanted`` columns that rows of metrics tell: last values, and the best ones."""
        found: dict[str, float | None] = {}
        for name, value in (metrics_of(rows[-1]) if rows else {}).items():
            column = f"metric/{name}" if f"metric/{name}" in self._table.names else name
            if column in wanted:
                found[column] = value
            if BEST + column in wanted:
                mode = self._table.mode if name == self._table.metric else None
                values = [row[name] for row in rows if isinstance(row.get(name), (int, float))]
                found[BEST + column] = best_value(values, mode or default_mode(name))
        return found


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time is not None else 0.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")
