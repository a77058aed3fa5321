"""Which trials are worth going on with: Ray Tune's schedulers by name, and what they need to rule a sweep."""

from __future__ import annotations

from ray.tune.schedulers import PopulationBasedTraining

from nnray.errors import SpaceError
from nnray.sweep.planning.plan import Plan
from nnray.sweep.scheduling.catalogue import make_scheduler, scheduler_names
from nnray.sweep.scheduling.perturbation import perturbed_keys, population_source
from nnray.sweep.scheduling.population import PopulationSteering
from nnray.sweep.scheduling.steering import Steering

__all__ = ["Steering", "make_scheduler", "population_source", "scheduler_names", "steering_of"]


def steering_of(plan: Plan) -> Steering | None:
    """Return what rules the trials of ``plan``, None if its sweep has no scheduler.

    Raises:
        SpaceError: If the sweep's scheduler cannot be made.
    """
    sweep = plan.sweep
    if sweep.scheduler is None:
        return None
    lengths = [trial.configuration.values["trainer"]["max_epochs"] for trial in plan.trials]
    max_t = max([*lengths, plan.search.epochs if plan.search is not None else 0]) or 1
    scheduler = make_scheduler(sweep.scheduler, sweep.metric, sweep.mode, max_t)
    if isinstance(scheduler, PopulationBasedTraining):
        if plan.search is not None:
            raise SpaceError(
                "scheduler: a population searches by itself, from where the space lets it begin; no search"
            )
        keys = perturbed_keys(scheduler, [trial.configuration for trial in plan.trials])
        return PopulationSteering(scheduler, plan, keys)
    return Steering(scheduler, plan)
