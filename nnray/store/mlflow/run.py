"""What MLflow is to hold of a trial: a run's name, status, times, parameters, metrics and tags, within its limits.

A metric's step in MLflow is the epoch, so that runs with different batch sizes share an axis, as their rows in
``metrics.parquet`` do; its timestamp is the row's own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import posixpath
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nnray.store.metrics_log import metrics_of
from nnray.store.reading import SweepTrial
from nnray.store.record import Status

TRIAL_TAG, SWEEP_TAG, STATUS_TAG, DIGEST_TAG = "nnray.trial", "nnray.sweep", "nnray.status", "nnray.mirrored"
"""Tags by which runs and experiments are found again, and the digest by which an unchanged run is known."""

MAX_KEY, MAX_PARAM, MAX_TAG = 250, 6000, 5000
"""Longest name, parameter and tag that every MLflow server of today takes."""

RUN_STATUS: dict[Status, str] = {
    "pending": "SCHEDULED",
    "running": "RUNNING",
    "completed": "FINISHED",
    "stopped": "FINISHED",  # stopped early by a scheduler, and a result; the tag nnray.status tells it apart
    "failed": "FAILED",
}

_FORBIDDEN = re.compile(r"[^\w\-. :/]")


class MetricValue(NamedTuple):
    """One value of one metric; ``step`` is the epoch, ``timestamp`` in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class RunContent:
    """A trial as an MLflow run.

    Attributes:
        trial: The short signature.
        name: The run's name.
        status: One of MLflow's.
        start_time: Milliseconds since 1970, None for a trial that has not been started.
        end_time: Milliseconds since 1970, None for a trial that has not ended.
        params: The configuration by dotted keys.
        metrics: Every value, in the order of epochs.
        tags: The signature, status, error, weights and origin.
        config: The file that becomes the artifact ``config.yaml``.
    """

    trial: str
    name: str
    status: str
    start_time: int | None
    end_time: int | None
    params: dict[str, str]
    metrics: list[MetricValue]
    tags: dict[str, str]
    config: Path

    @classmethod
    def of(cls, listed: SweepTrial) -> RunContent:
        """Return what MLflow is to hold of ``listed``."""
        trial, record = listed.trial, listed.trial.record
        ended = trial.status in ("completed", "stopped", "failed")
        origin = {
            "nnray.error": record.error,
            "nnray.host": record.host,
            "nnray.checkpoints": trial.paths.checkpoints.as_uri() if trial.checkpoints else None,
            "mlflow.source.git.commit": record.git_commit,
        }
        tags = {
            TRIAL_TAG: listed.signature,
            SWEEP_TAG: listed.sweep,
            STATUS_TAG: trial.status,
            "nnray.attempts": str(record.attempts),
            "mlflow.source.name": "nnray",
            **{key: _storable(value)[:MAX_TAG] for key, value in origin.items() if value},
        }
        return cls(
            trial=listed.signature,
            name=_storable(listed.membership.name)[:MAX_KEY] or listed.signature,
            status=RUN_STATUS[trial.status],
            start_time=_milliseconds(record.started),
            end_time=_milliseconds(record.ended) if ended else None,
            params={key: _text(value)[:MAX_PARAM] for key, value in _with_valid_names(listed.flat_config).items()},
            metrics=_metrics(trial.rows),
            tags=tags,
            config=trial.paths.config,
        )

    def digest(self) -> str:
        """Return a hash of everything here but the file, which says the same as the parameters."""
        content = (self.name, self.status, self.start_time, self.end_time, self.params, self.metrics, self.tags)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def run_id(self) -> str:
        """Return the same run ID for the same sweep and trial, so that not even a crash can make two runs of one."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"nnray:{self.tags[SWEEP_TAG]}/{self.trial}").hex


def _metrics(rows: Iterable[Mapping[str, Any]]) -> list[MetricValue]:
    values = []
    for row in sorted(rows, key=lambda row: row["epoch"]):
        time = row.get("time")
        timestamp = round(time * 1000) if isinstance(time, int | float) and 0 <= time < 1e12 else 0
        numbers = {key: value for key, value in metrics_of(dict(row)).items() if isinstance(value, int | float)}
        for key, value in _with_valid_names(numbers).items():
            values.append(MetricValue(key, _float(value), timestamp, row["epoch"]))
    return values


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _with_valid_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` under names that MLflow takes; two names that become the same are told apart by a number."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = base = _valid_name(key)
        count = 1
        while name in result:
            count += 1
            name = f"{base[: MAX_KEY - 8]}_{count}"
        result[name] = value
    return result


@functools.lru_cache(maxsize=4096)
def _valid_name(key: str) -> str:
    name = _FORBIDDEN.sub("_", _storable(key))
    if posixpath.normpath(name) != name or name.startswith(("..", "/", ".")):
        # MLflow refuses names that another name could resolve to as a path, such as "a//b" or "../a".
        name = "/".join(part for part in name.split("/") if part.strip(".")) or "_"
    return name[:MAX_KEY]


def _text(value: Any) -> str:
    """Return a parameter as people write it to MLflow: Python's ``None`` and ``True``, lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else _storable(str(value))


def _storable(text: str) -> str:
    """Return ``text`` without what a database refuses: NUL characters (PostgreSQL) and halves of surrogate pairs."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


def _milliseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
