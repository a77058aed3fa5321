"""MLflow's embedded default: a SQLite file in the store, whose runs are written in one transaction for many trials.

MLflow's own client takes 16 ms of processor time a run, and importing it two seconds in every process. So MLflow makes
the empty database, and the rows of runs are written here, where a run takes 1 to 2 ms. Only tables are touched whose
columns are the ones known here; a database of another form raises :class:`UnknownSchemaError`, and the client has to
do the work.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import remove_leftovers, replacing
from nnray.store.mlflow.run import DIGEST_TAG, SWEEP_TAG, TRIAL_TAG, MetricValue, RunContent
from nnray.store.mlflow.schema import copy_empty_database
from nnray.trial.paths import StorePaths

_BUSY_TIMEOUT_S = 10.0
"""How long to wait for another process that has locked the database; what fails is tried again later."""
_MAX_FLOAT = sys.float_info.max

_COLUMNS = {
    "experiments": {
        "experiment_id",
        "name",
        "artifact_location",
        "lifecycle_stage",
        "creation_time",
        "last_update_time",
    },
    "experiment_tags": {"key", "value", "experiment_id"},
    "runs": {
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"),
        *("end_time", "deleted_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    "tags": {"key", "value", "run_uuid"},
    "params": {"key", "value", "run_uuid"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "latest_metrics": {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
}


_OF_ONE_RUN = (OverflowError, ValueError, FileNotFoundError, sqlite3.DataError, sqlite3.IntegrityError)
"""What is wrong with one run, a number beyond SQLite's or a file that is gone, and not with the database."""


class UnknownSchemaError(StoreError):
    """The database was made by an MLflow whose tables differ from those known here."""


class MlflowDatabase:
    """The runs in a store's own MLflow database; the caller sees to it that one process writes at a time."""

    def __init__(self, store: StorePaths) -> None:
        self._path = store.mlflow_database
        self._artifacts = store.mlflow_artifacts
        self._run_ids: dict[str, dict[str, str]] = {}
        if not self._has_tables():
            self._create()
        self._check_schema()

    def has(self, sweep: str) -> bool:
        """Tell whether there is an experiment of ``sweep``, be it a deleted one."""
        with self._connected() as database:
            return _find_experiment(database, sweep) is not None

    def write(self, sweep: str, runs: Sequence[RunContent], done: Callable[[str], None]) -> dict[str, Exception]:
        """Bring the runs of ``sweep`` to what ``runs`` say, in one transaction; return those that it cannot hold.

        Calls ``done`` with each of the others once the transaction has been committed.
        """
        refused: dict[str, Exception] = {}
        with self._transaction() as database:
            experiment, location = self._experiment(database, sweep)
            if sweep not in self._run_ids:
                self._run_ids[sweep] = {trial: run_id for trial, run_id, _ in _find_runs(database, experiment)}
            for run in runs:
                run_id = self._run_ids[sweep].get(run.trial, run.run_id())
                if _active_digest(database, run_id) == run.digest():
                    continue
                database.execute("SAVEPOINT run")
                try:
                    _write_artifact(self._artifacts / sweep / run_id / "artifacts", run.config)
                    _write_run(database, experiment, f"{location}/{run_id}/artifacts", run_id, run)
                except _OF_ONE_RUN as error:
                    database.execute("ROLLBACK TO run")
                    refused[run.trial] = error
                database.execute("RELEASE run")
        for run in runs:
            if run.trial not in refused:
                done(run.trial)
        return refused

    def retire(self, sweep: str, keep: Collection[str]) -> None:
        """Mark the runs of trials that are not in ``keep`` as deleted; MLflow can still show and restore them."""
        with self._transaction() as database:
            experiment, _ = self._experiment(database, sweep)
            now = round(time.time() * 1000)
            found = _find_runs(database, experiment)
            gone = [(now, run_id) for trial, run_id, stage in found if trial not in keep and stage == "active"]
            database.executemany(
                "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?", gone
            )

    def _has_tables(self) -> bool:
        if not self._path.exists():
            return False
        with self._connected() as database:
            return database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table'").fetchone() is not None

    def _create(self) -> None:
        remove_leftovers(self._path.parent)
        with replacing(self._path) as beside:
            copy_empty_database(beside)
            with closing(sqlite3.connect(beside)) as database, database:
                home = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0"
                database.execute(home, (f"{self._artifacts.as_uri()}/0",))

    def _check_schema(self) -> None:
        with self._connected() as database:
            for table, columns in _COLUMNS.items():
                found = database.execute(f"PRAGMA table_info({table})").fetchall()
                demanded = {name for _, name, _, not_null, default, _ in found if not_null and default is None}
                if not columns <= {row[1] for row in found} or not demanded <= columns:
                    raise UnknownSchemaError(f"{self._path}: the table {table} has another form than expected")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            # A file that was removed must be missed, and not be made anew without a table in it.
            uri = f"{self._path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, timeout=_BUSY_TIMEOUT_S, isolation_level=None, uri=True)) as database:
                yield database
        except sqlite3.OperationalError as error:  # locked, on a full disk, gone
            raise StoreError(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            hint = "if it is damaged, move it away: a new one is made from the trial folders"
            raise StoreError(f"{self._path}: {error} ({hint})") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:  # SQLite rolls back by itself where a disk is full
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _experiment(self, database: sqlite3.Connection, sweep: str) -> tuple[int, str]:
        """Return ID and artifact location of the sweep's experiment; it may have been renamed, deleted or moved."""
        location = (self._artifacts / sweep).as_uri()
        experiment = _find_experiment(database, sweep)
        now = round(time.time() * 1000)
        if experiment is None:
            insert = (
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
                " VALUES (?, ?, 'active', ?, ?)"
            )
            experiment = int(database.execute(insert, (sweep, location, now, now)).lastrowid or 0)
        else:
            held = "SELECT artifact_location, lifecycle_stage FROM experiments WHERE experiment_id = ?"
            if database.execute(held, (experiment,)).fetchone() != (location, "active"):
                update = (
                    "UPDATE experiments SET artifact_location = ?, lifecycle_stage = 'active' WHERE experiment_id = ?"
                )
                database.execute(update, (location, experiment))
                update = "UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts' WHERE experiment_id = ?"
                database.execute(update, (location, experiment))
        tag = "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)"
        database.execute(tag, (SWEEP_TAG, sweep, experiment))
        return experiment, location


def _find_experiment(database: sqlite3.Connection, sweep: str) -> int | None:
    """Return the ID of the sweep's experiment: by the tag, since it may have been renamed, or by its name."""
    by_tag = "SELECT experiment_id FROM experiment_tags WHERE key = ? AND value = ?"
    found = database.execute(by_tag, (SWEEP_TAG, sweep)).fetchone()
    found = found or database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (sweep,)).fetchone()
    return int(found[0]) if found else None


def _find_runs(database: sqlite3.Connection, experiment: int) -> list[tuple[str, str, str]]:
    """Return trial, run ID and lifecycle stage of each run; of several runs of one trial, an active one comes last."""
    query = (
        "SELECT tags.value, runs.run_uuid, runs.lifecycle_stage FROM runs"
        " JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = ?"
        " WHERE runs.experiment_id = ? ORDER BY runs.lifecycle_stage = 'active'"
    )
    return database.execute(query, (TRIAL_TAG, experiment)).fetchall()


def _active_digest(database: sqlite3.Connection, run_id: str) -> str | None:
    """Return the digest of what was last written to a run; None if there is no such run, or it is deleted."""
    query = (
        "SELECT tags.value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = ?"
        " WHERE runs.run_uuid = ? AND runs.lifecycle_stage = 'active'"
    )
    found = database.execute(query, (DIGEST_TAG, run_id)).fetchone()
    return found[0] if found else None


def _write_artifact(folder: Path, config: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config.name).write_bytes(config.read_bytes())


def _write_run(database: sqlite3.Connection, experiment: int, artifacts: str, run_id: str, run: RunContent) -> None:
    database.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
        " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)"
        " ON CONFLICT (run_uuid) DO UPDATE SET name = excluded.name, status = excluded.status,"
        " start_time = excluded.start_time, end_time = excluded.end_time, lifecycle_stage = 'active',"
        " deleted_time = NULL, artifact_uri = excluded.artifact_uri",
        (run_id, run.name, run.status, run.start_time, run.end_time, artifacts, experiment),
    )
    database.execute("DELETE FROM params WHERE run_uuid = ?", (run_id,))
    params = [(key, value, run_id) for key, value in run.params.items()]
    database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", params)
    _write_metrics(database, run_id, run.metrics)
    # Tags and notes that people add stay; what nnray no longer says (the error of a trial that was retried) goes.
    database.execute("DELETE FROM tags WHERE run_uuid = ? AND key LIKE 'nnray.%'", (run_id,))
    tags = run.tags | {"mlflow.runName": run.name, DIGEST_TAG: run.digest()}
    rows = [(key, value, run_id) for key, value in tags.items()]
    database.executemany("INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)


def _write_metrics(database: sqlite3.Connection, run_id: str, metrics: Sequence[MetricValue]) -> None:
    """Make ``metrics`` all that the run has; one that the trial no longer reports goes."""
    wanted = {(metric.key, metric.step): _encoded(metric.value) for metric in metrics}
    held: dict[tuple[str, int], tuple[float, int]] = {}
    stale = set()
    for key, step, value, is_nan in database.execute(
        "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?", (run_id,)
    ):
        held[key, step] = (value, is_nan)
        if wanted.get((key, step)) != (value, is_nan):
            stale.add(key)  # the trial was trained anew, or is at an earlier epoch than it was
    for table in ("metrics", "latest_metrics"):
        statement = f"DELETE FROM {table} WHERE run_uuid = ? AND key = ?"
        database.executemany(statement, [(run_id, key) for key in stale])
    missing = [metric for metric in metrics if metric.key in stale or (metric.key, metric.step) not in held]
    rows = [(metric.key, *_encoded(metric.value), metric.timestamp, metric.step, run_id) for metric in missing]
    columns = "(key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
    database.executemany(f"INSERT OR REPLACE INTO metrics {columns}", rows)
    latest = {row[0]: row for row in rows}
    database.executemany(f"INSERT OR REPLACE INTO latest_metrics {columns}", list(latest.values()))


def _encoded(value: float) -> tuple[float, int]:
    """Return value and NaN flag as MLflow keeps them: SQL has neither NaN nor infinity."""
    if math.isnan(value):
        return 0.0, 1
    return max(-_MAX_FLOAT, min(_MAX_FLOAT, value)), 0
