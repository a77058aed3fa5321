"""Runs on an MLflow server (or any other tracking URI), written through MLflow's client."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from nnray.store.mlflow.run import DIGEST_TAG, SWEEP_TAG, TRIAL_TAG, MetricValue, RunContent
from nnray.store.mlflow.schema import QUIET

if TYPE_CHECKING:
    from mlflow.entities import Run

PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""MLflow's client waits for minutes by default, and sends a request again whose answer was lost, so that a run could be
made twice. What fails here is put off, and whoever comes back to it looks first what got through."""

_REFUSALS_IN_A_ROW = 5
"""From then on it is the server that is at fault, and not the trials."""

_PARAMS_PER_BATCH, _METRICS_PER_BATCH = 100, 500
"""Within the 100 parameters, 1,000 metrics, 1,000 entities and 1 MB that a server takes in one request."""


@dataclass
class _KnownRun:
    run_id: str
    start_time: int | None = None
    digest: str | None = None
    status: str | None = None
    params: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    """Names of the metrics that it had when it was found."""
    metrics: dict[tuple[str, int], float] | None = None
    """Values by metric and step; None where they have not been asked for."""


class MlflowServer:
    """The runs of sweeps behind a tracking URI."""

    def __init__(self, uri: str) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        os.environ.update(PATIENCE)
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(uri)
        self._experiments: dict[str, str] = {}
        self._known: dict[str, dict[str, _KnownRun]] = {}
        self._refusals_in_a_row = 0

    def has(self, sweep: str) -> bool:
        """Tell whether there is an experiment of ``sweep``, be it a deleted one."""
        return self._client.get_experiment_by_name(sweep) is not None

    def write(self, sweep: str, runs: Sequence[RunContent], done: Callable[[str], None]) -> dict[str, Exception]:
        """Bring the runs of ``sweep`` to what ``runs`` say; return the trials that the server refused, with its reason.

        Calls ``done`` with each trial that got through. Raises what the client raises when there is no server, or when
        it refuses one trial after another.
        """
        refused: dict[str, Exception] = {}
        if not runs:
            return refused
        experiment = self._experiment(sweep)
        known = self._runs(sweep, experiment)
        for run in runs:
            try:
                self._write_run(experiment, run, known)
            except Exception as error:
                known.pop(run.trial, None)  # part of it may have got through
                self._refusals_in_a_row += 1
                if not _was_answered(error) or self._refusals_in_a_row >= _REFUSALS_IN_A_ROW:
                    raise
                refused[run.trial] = error
            else:
                self._refusals_in_a_row = 0
                done(run.trial)
        return refused

    def retire(self, sweep: str, keep: Collection[str]) -> None:
        """Do nothing: a server may be shared, and other stores may have trials in an experiment of the same name."""

    def _experiment(self, sweep: str) -> str:
        if sweep not in self._experiments:
            found = self._client.get_experiment_by_name(sweep)
            if found is None:
                self._experiments[sweep] = self._client.create_experiment(sweep, tags={SWEEP_TAG: sweep})
            else:
                if found.lifecycle_stage == "deleted":
                    self._client.restore_experiment(found.experiment_id)
                self._experiments[sweep] = found.experiment_id
        return self._experiments[sweep]

    def _runs(self, sweep: str, experiment: str) -> dict[str, _KnownRun]:
        if sweep not in self._known:
            self._known[sweep] = self._only_one_each(self._search(experiment))
        return self._known[sweep]

    def _only_one_each(self, runs: Sequence[Run]) -> dict[str, _KnownRun]:
        """Return the run of each trial; delete what a lost answer made twice, the one with less in it."""
        kept: dict[str, _KnownRun] = {}
        for run in sorted(runs, key=lambda run: (DIGEST_TAG not in run.data.tags, -len(run.data.metrics))):
            if run.data.tags[TRIAL_TAG] in kept:
                self._client.delete_run(run.info.run_id)
            else:
                kept[run.data.tags[TRIAL_TAG]] = _known(run)
        return kept

    def _search(self, experiment: str, condition: str = "") -> list[Run]:
        found: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs([experiment], condition, max_results=1000, page_token=token)
            found += [run for run in page if TRIAL_TAG in run.data.tags]
            token = page.token
            if not token:
                return found

    def _write_run(self, experiment: str, run: RunContent, known_runs: dict[str, _KnownRun]) -> None:
        digest, known = run.digest(), known_runs.get(run.trial)
        if known is not None and (known.digest, known.status) == (digest, run.status):
            return
        if known is None:  # another store may have made the run since this one looked, or a request got through
            known = self._only_one_each(self._search(experiment, f"tags.`{TRIAL_TAG}` = '{run.trial}'")).get(run.trial)
        if known is not None and self._is_stale(known, run):
            self._client.delete_run(known.run_id)  # MLflow cannot take single values back
            known = None
        if known is None:
            known = self._create(experiment, run)
        known_runs[run.trial] = known
        held = self._held(known)
        if not known.params:
            self._client.log_artifact(known.run_id, str(run.config))
        params = {key: value for key, value in run.params.items() if key not in known.params}
        metrics = [metric for metric in run.metrics if (metric.key, metric.step) not in held]
        self._log(known.run_id, params, metrics, run.tags | {"mlflow.runName": run.name, DIGEST_TAG: digest})
        known.params |= params.keys()
        held.update({(metric.key, metric.step): metric.value for metric in metrics})
        if run.end_time is not None:
            self._client.set_terminated(known.run_id, run.status, run.end_time)
        elif known.status != run.status:
            self._client.update_run(known.run_id, status=run.status)
        known.digest, known.status = digest, run.status

    def _create(self, experiment: str, run: RunContent) -> _KnownRun:
        created = self._client.create_run(experiment, run.start_time, {TRIAL_TAG: run.trial}, run.name)
        return _KnownRun(created.info.run_id, run.start_time, status=created.info.status, metrics={})

    def _log(self, run_id: str, params: dict[str, str], metrics: list[MetricValue], tags: dict[str, str]) -> None:
        """Log everything, in one request where it fits; tags, and so the digest, come with the last one."""
        from mlflow.entities import Metric, Param, RunTag

        left_params = iter([Param(key, value) for key, value in params.items()])
        left_metrics = iter([Metric(*metric) for metric in metrics])
        batches = []
        while True:
            batch = list(islice(left_metrics, _METRICS_PER_BATCH)), list(islice(left_params, _PARAMS_PER_BATCH))
            if not any(batch):
                break
            batches.append(batch)
        for number, batch in enumerate(batches or [([], [])], start=1):
            last = number >= len(batches)
            self._client.log_batch(
                run_id, *batch, [RunTag(key, value) for key, value in tags.items()] if last else [], synchronous=True
            )

    def _held(self, known: _KnownRun) -> dict[tuple[str, int], float]:
        if known.metrics is None:
            known.metrics = {
                (key, value.step): value.value
                for key in sorted(known.keys)
                for value in self._client.get_metric_history(known.run_id, key)
            }
        return known.metrics

    def _is_stale(self, known: _KnownRun, run: RunContent) -> bool:
        """Tell whether the run has other values than the trial, which was trained anew then, or a start of its own.

        A trial on its way may be at an earlier epoch than it was before it was resumed: it will come there again.
        A run that was made before its trial started says that it started then, and no request can change that.
        """
        if known.status == "SCHEDULED" and run.start_time not in (None, known.start_time):
            return True
        wanted = {(metric.key, metric.step): metric.value for metric in run.metrics}
        held = self._held(known)
        differs = any(place in wanted and not _same(wanted[place], value) for place, value in held.items())
        return differs or (run.end_time is not None and not held.keys() <= wanted.keys())


def _known(run: Run) -> _KnownRun:
    info, tags = run.info, run.data.tags
    return _KnownRun(
        info.run_id,
        info.start_time,
        tags.get(DIGEST_TAG),
        info.status,
        params=set(run.data.params),
        keys=set(run.data.metrics),
    )


def _was_answered(error: BaseException) -> bool:
    """Tell whether somebody answered, be it nonsense; not where the connection failed or took too long."""
    from requests import exceptions

    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, exceptions.ConnectionError | exceptions.Timeout):
            return False
        chain = chain.__cause__ or chain.__context__
    return True


def _same(wanted: float, held: float) -> bool:
    if math.isnan(wanted) or math.isnan(held):
        return math.isnan(wanted) and math.isnan(held)
    return wanted == held or (math.isinf(wanted) and abs(held) > 1.7e308 and (wanted > 0) == (held > 0))
