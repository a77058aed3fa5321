"""Between Tune's controller and a scheduler: its decisions reach the trials so that every record is true at once."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.train._internal.session import _TrainingResult
from ray.tune.execution.tune_controller import TrialRunnerWrapper
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    ResourceChangingScheduler,
    TrialScheduler,
)

from nnray.errors import SpaceError, did_you_mean
from nnray.store.files import path_of
from nnray.store.metrics_log import read_rows
from nnray.sweep.planning.plan import Plan
from nnray.sweep.scheduling.replay import tell_finished, tell_rows
from nnray.sweep.scheduling.trainable import SteeredTrial, checkpoint_at
from nnray.sweep.tune_hooks import NotSaved
from nnray.training.runner import settle_stopped
from nnray.trial.paths import TrialPaths

_PREFIX = "metrics/"


class Steering(NotSaved, TrialScheduler):
    """Lets a scheduler of Ray Tune rule a sweep whose trials keep their state in their own folders.

    Tune stops a trial by forgetting it: its thread is left waiting, its record says that it runs. Here a trial that is
    to stop is told so with its next step and ends by itself; one that is to pause ends before its worker is given away.
    The scheduler sees metrics under their own names, and ``training_iteration`` is the epoch + 1 also behind a
    resumption.

    Args:
        scheduler: What decides.
        plan: What is being done: trials that are finished are told to the scheduler, and so are the epochs that those
            to be resumed have behind them.
    """

    def __init__(self, scheduler: TrialScheduler, plan: Plan) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.error: SpaceError | None = None
        self._sweep = plan.sweep.name
        self.max_epochs = {trial.signature: trial.configuration.values["trainer"]["max_epochs"] for trial in plan.todo}
        self._last: dict[str, dict[str, Any]] = {}
        self._stopping: set[str] = set()
        self._leaving: dict[str, ray.ObjectRef] = {}
        tell_finished(scheduler, plan)

    trainable = SteeredTrial
    perturbed: tuple[str, ...] = ()

    @property
    def pauses(self) -> bool:
        """Whether the scheduler may set trials aside, as all but those do that stop trials and nothing else."""
        return not isinstance(self.scheduler, (AsyncHyperBandScheduler, MedianStoppingRule)) and (
            type(self.scheduler) is not FIFOScheduler
        )

    @property
    def reuses_workers(self) -> bool:
        """Whether a worker can take one trial after another; not if the scheduler changes what trials occupy."""
        return not isinstance(self.scheduler, ResourceChangingScheduler)

    @property
    def metric(self) -> str | None:
        """None for Tune, whose own check of metrics comes too late; see :meth:`on_trial_result`."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Do nothing: the scheduler has its metric."""
        return True

    def on_trial_add(self, tune_controller: TrialRunnerWrapper, trial: Any) -> None:
        """Tell of a trial, and of the epochs that it has behind it from an earlier run."""
        controller = View(tune_controller)
        self.scheduler.on_trial_add(controller, trial)
        if trial.trial_id not in self._last:
            tell_rows(self.scheduler, controller, trial, read_rows(folder_of(trial.config).metrics))

    def on_trial_result(self, tune_controller: TrialRunnerWrapper, trial: Any, result: dict[str, Any]) -> str:
        """Take an epoch's result to the scheduler and its decision to the trial."""
        metrics = {key.removeprefix(_PREFIX): value for key, value in result.items() if key.startswith(_PREFIX)}
        self._last[trial.trial_id] = epoch = {**result, **metrics, "training_iteration": result["epoch"] + 1}
        self._check_metric(metrics)
        worker = trial.temporary_state.ray_actor
        if trial.trial_id not in self._stopping:
            decision = self.decide(View(tune_controller), trial, epoch)
            if decision == TrialScheduler.PAUSE or trial.status == trial.PAUSED:
                return self._pause(tune_controller, trial, worker, decision)
            if decision != TrialScheduler.STOP:
                return decision
        self._stopping.add(trial.trial_id)
        worker.stop_after_epoch.remote()
        return TrialScheduler.CONTINUE

    def decide(self, controller: Any, trial: Any, epoch: dict[str, Any]) -> str:
        """Return what the scheduler says to an epoch's result."""
        return self.scheduler.on_trial_result(controller, trial, epoch)

    def on_trial_complete(self, tune_controller: TrialRunnerWrapper, trial: Any, result: dict[str, Any]) -> None:
        """Tell that a trial has ended by itself."""
        last = self._last.get(trial.trial_id)
        if last is None or result.get("outcome") not in ("completed", "stopped"):
            self.scheduler.on_trial_error(View(tune_controller), trial)
        else:
            self.scheduler.on_trial_complete(View(tune_controller), trial, last)

    def on_trial_remove(self, tune_controller: TrialRunnerWrapper, trial: Any) -> None:
        """Stop a trial that is paused."""
        self._await(trial)
        settle_stopped(folder_of(trial.config))
        self.scheduler.on_trial_remove(View(tune_controller), trial)

    def on_trial_error(self, tune_controller: TrialRunnerWrapper, trial: Any) -> None:
        """Tell that the worker of a trial has died."""
        self.scheduler.on_trial_error(View(tune_controller), trial)

    def choose_trial_to_run(self, tune_controller: TrialRunnerWrapper) -> Any:
        """Return the trial that the scheduler wants, once its former worker has let go of it."""
        trial = self.scheduler.choose_trial_to_run(View(tune_controller))
        if trial is not None and trial.trial_id in self._leaving:
            if not ray.wait([self._leaving[trial.trial_id]], timeout=0)[0]:
                return None
            self._await(trial)
        return trial

    def debug_string(self) -> str:
        """Return what the scheduler says of itself."""
        return self.scheduler.debug_string()

    @property
    def supports_buffered_results(self) -> bool:
        """Whether several results may come at once."""
        return False

    def _pause(self, tune_controller: TrialRunnerWrapper, trial: Any, worker: Any, decision: str) -> str:
        self._leaving[trial.trial_id] = worker.interrupt.remote()
        if trial.is_saving:  # the controller pauses it when that is done
            return decision
        if trial.status != trial.PAUSED:
            tune_controller.pause_trial(trial, should_checkpoint=False)
            paths = folder_of(trial.config)
            pointer = _TrainingResult(checkpoint_at(paths.resume), dict(self._last[trial.trial_id]))
            trial.run_metadata.checkpoint_manager._latest_checkpoint_result = pointer
        return TrialScheduler.NOOP

    def _await(self, trial: Any) -> None:
        leaving = self._leaving.pop(trial.trial_id, None)
        if leaving is not None:
            with contextlib.suppress(ray.exceptions.RayError):  # the worker died, and the claim with it
                ray.get(leaving)

    def _check_metric(self, metrics: dict[str, Any]) -> None:
        metric = self.scheduler.metric
        if metric is None or metric in metrics or type(self.scheduler) is FIFOScheduler:
            return
        self.error = SpaceError(
            f"scheduler: the trials of {self._sweep} report no metric {metric!r}{did_you_mean(str(metric), metrics)}"
        )
        raise self.error


def folder_of(config: dict[str, Any]) -> TrialPaths:
    """Return the folder of the trial that Tune knows by ``config``."""
    return TrialPaths(path_of(config["folder"]))


class View:
    """The controller as a scheduler sees it: without a search that PBT would refuse and BOHB would talk to."""

    def __init__(self, controller: TrialRunnerWrapper) -> None:
        self._controller = controller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)

    @property
    def search_alg(self) -> View:
        """The search, which has no part in it here."""
        return self

    @property
    def searcher(self) -> View:
        """The searcher, as :attr:`search_alg`."""
        return self

    def on_pause(self, trial_id: str) -> None:
        """BOHB tells the search, which has no part in it here."""

    def on_unpause(self, trial_id: str) -> None:
        """See :meth:`on_pause`."""
