"""Population based training: trials go on from better ones' states with other hyperparameters."""

from __future__ import annotations

import random
from typing import Any

from ray.tune.execution.tune_controller import TrialRunnerWrapper
from ray.tune.schedulers import TrialScheduler

from nnray.store.files import path_of
from nnray.store.record import Record
from nnray.sweep.planning.plan import Plan
from nnray.sweep.scheduling.steering import Steering, View, folder_of
from nnray.training.exploitation import in_effect, order_exploit, read_order
from nnray.trial.configuration import resolve
from nnray.trial.yaml_loader import load_yaml


class PopulationSteering(Steering):
    """Steers a population: what the scheduler copies and changes becomes an order in the trial's own folder.

    Ray's scheduler gives a trial the whole configuration of the donor, its folder included; the trial keeps its own
    and takes the hyperparameters only.

    Args:
        scheduler: What decides.
        plan: What is being done.
        perturbed: Dotted keys that the scheduler changes.
    """

    def __init__(self, scheduler: TrialScheduler, plan: Plan, perturbed: tuple[str, ...]) -> None:
        super().__init__(scheduler, plan)
        self.perturbed = perturbed
        self._own: dict[str, dict[str, Any]] = {}
        self._values: dict[str, dict[str, Any]] = {}
        random.seed(plan.sweep.sample_seed)  # which Ray's schedulers draw from

    def on_trial_add(self, tune_controller: TrialRunnerWrapper, trial: Any) -> None:
        """Tell of a trial with the hyperparameters that it has now."""
        if trial.trial_id not in self._own:
            self._own[trial.trial_id] = dict(trial.config)
            self._values[trial.trial_id] = _values_now(trial, self.perturbed)
        trial.set_config({**self._own[trial.trial_id], **self._values[trial.trial_id]})
        super().on_trial_add(tune_controller, trial)

    def decide(self, controller: Any, trial: Any, epoch: dict[str, Any]) -> str:
        """Ask the scheduler, but not behind a trial's last epoch, where nothing follows that could be changed."""
        if epoch["training_iteration"] >= self.max_epochs[trial.config["signature"]]:
            return TrialScheduler.CONTINUE
        decision = super().decide(controller, trial, epoch)
        for other in controller.get_trials():
            self._keep_order(other)
        return decision

    def choose_trial_to_run(self, tune_controller: TrialRunnerWrapper) -> Any:
        """Return the trial that the scheduler wants.

        A synchronous population changes when the last one has reported. If that one fails instead, all others would
        wait for ever: the scheduler is told again of one of them.
        """
        trial = super().choose_trial_to_run(tune_controller)
        if trial is not None:
            return trial
        live = [other for other in tune_controller.get_trials() if not other.is_finished()]
        waiting = [other for other in live if other.status == other.PAUSED]
        if not waiting or len(waiting) < len(live):
            return None
        self.decide(View(tune_controller), waiting[0], self._last[waiting[0].trial_id])
        return super().choose_trial_to_run(tune_controller)

    def _keep_order(self, trial: Any) -> None:
        """Turn what the scheduler has made of ``trial.config`` into an order, if it has changed it."""
        own, values = self._own[trial.trial_id], self._values[trial.trial_id]
        donor = trial.config["signature"]
        new = {key: _plain(trial.config[key]) for key in self.perturbed}
        if donor == own["signature"] and new == values:
            return
        pointer = trial.latest_checkpoint_result
        changes = {key: (values[key], value) for key, value in new.items()}
        snapshot = path_of(pointer.checkpoint.path) if pointer is not None else folder_of(own).resume
        if order_exploit(folder_of(own), donor, snapshot, changes):
            self._values[trial.trial_id] = new
        trial.set_config({**own, **self._values[trial.trial_id]})


def _values_now(trial: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the hyperparameters that a trial trains with: those of its configuration, or of its last change."""
    paths = folder_of(trial.config)
    record = Record.read(paths.record)
    history = list(record.history) if record is not None else []
    order = read_order(paths)
    if order is not None:  # not yet carried out
        history.append(order)
    flat = in_effect(resolve(load_yaml(trial.config["configuration"])), history).flat()
    return {key: flat[key] for key in keys}


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item() if hasattr(value, "item") else value
