"""A trial that several workers train: Ray Train starts them, and Lightning's DDP strategy keeps them in step."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, cast

from nnray.errors import TrialError
from nnray.store.claim import claim_owner
from nnray.store.files import path_of
from nnray.store.metrics_log import Row, read_rows
from nnray.store.record import Record
from nnray.store.stop_request import StopRequest, Verdict
from nnray.training.stopping import LeaveTraining, StopTraining
from nnray.trial.paths import TrialPaths

if TYPE_CHECKING:
    from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
    from nnray.training.runner import Outcome, Run

_LOOK_EVERY_S = 0.5
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # so soon it is noticed that workers have ended
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # on a busy machine, imports alone can take the minute of old
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


_LOST = "another worker is gone"
_RECORDED_WITHIN_S = 5.0
"""All workers are killed when the first has failed; the one that leads may be busy writing down why."""


class TrialLeft(Exception):  # noqa: N818 (it ends the other workers, and is no error)
    """The worker that leads has ended the trial before its time, and so the others are to be ended."""


class WorkerDiedError(Exception):
    """A worker has died (a crash in compiled code, a lost node)."""


def train_together(config: dict[str, Any], run: Run, code: CodeSnapshot, on_epoch: Callable[[Row], None]) -> Outcome:
    """Train one trial with several workers, which reserve their resources themselves, all at once.

    Args:
        config: As for :func:`nnray.sweep.workers.worker.train`; its ``request`` says how many workers there are.
        run: How the command wants it run.
        code: The modules of a person's own as they were when the command started.
        on_epoch: Called with the row of metrics after each epoch.

    Raises:
        WorkerDiedError: If a worker has died; the trial can be resumed.
        TrialError: If one that does not lead has failed.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    os.environ.update(_ENVIRONMENT)
    request, paths = config["request"], TrialPaths(path_of(config["folder"]))
    bundle = {"CPU": request["bundle"]["cpu"], "GPU": request["bundle"]["gpu"]}
    with tempfile.TemporaryDirectory(prefix="nnray-train-") as scratch:
        trainer = TorchTrainer(
            _train_in_team,
            train_loop_config={"config": config, "run": run, "code": code},
            scaling_config=ScalingConfig(
                num_workers=request["workers"],
                use_gpu=bundle["GPU"] > 0,
                resources_per_worker={name: amount for name, amount in bundle.items() if amount},
            ),
            run_config=RunConfig(
                name=config["signature"], storage_path=scratch, failure_config=FailureConfig(max_failures=0)
            ),
        )
        return _fit(trainer, paths, on_epoch)


def _fit(trainer: Any, paths: TrialPaths, on_epoch: Callable[[Row], None]) -> Outcome:
    """Wait for the workers and tell of their epochs, which the leading one writes down."""
    from ray.train import TrainingFailedError

    told = len(read_rows(paths.metrics))
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(trainer.fit)
        while wait([fitting], _LOOK_EVERY_S).not_done:
            rows = read_rows(paths.metrics)
            if len(rows) > told:
                _tell(on_epoch, rows[-1], paths)
            told = len(rows)
        try:
            outcome: Outcome = fitting.result().return_value
        except TrainingFailedError as error:
            return _outcome_of_failure(error, paths)
    return outcome


def _tell(on_epoch: Callable[[Row], None], row: Row, paths: TrialPaths) -> None:
    """Tell of an epoch; that the training is to end is passed on to the worker that leads."""
    try:
        on_epoch(row)
    except LeaveTraining as request:
        verdict: Verdict = "stop" if isinstance(request, StopTraining) else "interrupt"
        StopRequest(verdict, claim_owner(paths.claim) or "").write(paths.stop)


def _outcome_of_failure(error: Exception, paths: TrialPaths) -> Outcome:
    record = Record.read(paths.record)
    if record is not None and record.status in ("completed", "stopped", "failed"):
        return cast("Outcome", record.status)
    failures = [str(failure).rstrip() for failure in getattr(error, "worker_failures", {}).values()]
    lines = [failure.splitlines()[-1] for failure in failures if "Traceback" in failure]
    reasons = [line.rpartition(f"{TrialLeft.__name__}: ")[1:] for line in lines]
    outcomes = [outcome for left, outcome in reasons if left and outcome != _LOST]
    if outcomes:
        return cast("Outcome", outcomes[0])
    faults = [line for line, (left, _) in zip(lines, reasons, strict=True) if not left]
    if faults and len(lines) == len(failures):
        raise TrialError(f"one of its workers failed: {faults[0]}") from error
    raise WorkerDiedError(str(error)) from error


def _train_in_team(given: dict[str, Any]) -> Outcome | None:
    """Train as one of the workers; what Ray Train runs in each of them."""
    from nnray.sweep.workers.worker import warm_up

    warm_up(given["code"], given["run"])
    from ray import train
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    from nnray.training.data_parallel import Team
    from nnray.training.runner import assist_trial, run_trial
    from nnray.trial import resolve
    from nnray.trial.yaml_loader import load_yaml

    config, context = given["config"], train.get_context()
    paths, configuration = TrialPaths(path_of(config["folder"])), resolve(load_yaml(config["configuration"]))
    options = {"strategy": RayDDPStrategy(), "plugins": [RayLightningEnvironment()], "devices": "auto"}
    team = Team(context.get_world_rank(), context.get_world_size(), options)
    try:
        if not team.leads:
            assist_trial(paths, configuration, team)
            return None
        outcome = run_trial(paths, configuration, given["run"], team=team)
    except Exception as error:
        if not team.has_lost(error):
            raise
        if not team.leads:
            time.sleep(_RECORDED_WITHIN_S)
        raise TrialLeft(_LOST) from error
    if outcome not in ("completed", "stopped"):
        raise TrialLeft(outcome)
    return outcome
