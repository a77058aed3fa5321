"""Which trials are worth going on with: Ray Tune's schedulers by name, and what they need to rule a sweep."""

from __future__ import annotations

from nnray.sweep.plan import Plan
from nnray.sweep.scheduling.catalogue import make_scheduler, scheduler_names
from nnray.sweep.scheduling.steering import Steering

__all__ = ["Steering", "make_scheduler", "scheduler_names", "steering_of"]


def steering_of(plan: Plan) -> Steering | None:
    """Return what rules the trials of ``plan``, None if its sweep has no scheduler.

    Raises:
        SpaceError: If the sweep's scheduler cannot be made.
    """
    sweep = plan.sweep
    if sweep.scheduler is None:
        return None
    max_t = max((trial.configuration.values["trainer"]["max_epochs"] for trial in plan.trials), default=1)
    return Steering(make_scheduler(sweep.scheduler, sweep.metric, sweep.mode, max_t), plan)
