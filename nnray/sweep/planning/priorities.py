"""Which trials to start first, so that the last ones don't run alone."""

from __future__ import annotations

from nnray.space.resources import Resources
from nnray.sweep.planning.durations import guess_durations, shape_of
from nnray.sweep.planning.plan import Plan, PlannedTrial


def prioritised(plan: Plan) -> tuple[PlannedTrial, ...]:
    """Return what there is to train, in the order in which to start it.

    Trials that were started before come first. The others follow the longest first, which keeps the workers busy to the
    end: the last trial to finish is at most a third late (Graham 1969, "Bounds on multiprocessing timing anomalies",
    theorem 2, for durations that are guessed rightly). Trials of equal shape have equal guesses and so follow one
    another, and the worker that trains them finds data, code and allocated memory as it needs them. Trials that ask for
    more than others go before them, since what is small fits beside what is large and not the other way round.
    """
    todo = plan.todo
    if len(todo) < 2:
        return todo
    shapes = [shape_of(trial.configuration.flat()) for trial in todo]
    seconds = guess_durations(todo, shapes, plan.store, plan.trials)
    place = {shape: number for number, shape in enumerate(dict.fromkeys(shapes))}

    def priority(number: int) -> tuple[float, ...]:
        trial = todo[number]
        return (*_size(trial.resources), trial.state != "resume", -seconds[number], place[shapes[number]])

    return tuple(todo[number] for number in sorted(range(len(todo)), key=priority))


def _size(resources: Resources) -> tuple[float, float]:
    """Return what sorts large requests before small ones."""
    return -(resources.gpu or 0.0) * resources.workers, -resources.cpu * resources.workers
