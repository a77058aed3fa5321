"""Points from a searcher of Ray Tune, used as Tune would use it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnray.errors import SpaceError
from nnray.sweep.search.axes import Axis, Choice
from nnray.sweep.search.searcher import Evaluation, NothingMoreError, Point
from nnray.trial.merging import flatten


class RayTuneSearcher:
    """Speaks for a :class:`ray.tune.search.Searcher`.

    Attributes:
        has_own_space: Whether it was made with a space of its own, whose keys are then those of the configuration.

    Args:
        searcher: The searcher, which has not been asked yet.
        axes: What varies; empty for a searcher that has a space of its own.
        objectives: Metrics and whether their largest (``max``) or smallest (``min``) value is looked for.

    Raises:
        SpaceError: If it cannot deal with the space, or has one of its own and the sweep has another.
    """

    def __init__(self, searcher: Any, axes: Mapping[str, Axis], objectives: Mapping[str, str]) -> None:
        self._searcher = searcher
        self._objectives = tuple(objectives)
        name = type(searcher).__name__
        lead: Any = (self._objectives[0], *objectives.values())
        metric, mode = lead if len(objectives) == 1 else (list(objectives), list(objectives.values()))
        if searcher.metric:  # it was made for these
            metric, mode = None, None
        try:
            taken = searcher.set_search_properties(metric, mode, {key: _domain(axis) for key, axis in axes.items()})
        except Exception as error:  # whatever a searcher raises at a space that it cannot deal with
            raise SpaceError(f"search: {name}: {' '.join(str(error).split())}") from error
        if not taken and axes:
            raise SpaceError(
                f"search: {name} has a space of its own, or takes none: leave the distributions out of the searcher, "
                f"or out of the sweep ({', '.join(axes)})"
            )
        self.has_own_space = not taken

    def ask(self, number: int) -> Point | None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        suggestion = self._searcher.suggest(_trial_id(number))
        if suggestion is None:
            return None
        if suggestion == type(self._searcher).FINISHED:
            raise NothingMoreError
        return flatten(suggestion)

    def tell(self, number: int, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        trial_id = _trial_id(number)
        if evaluation.values is None:
            self._searcher.on_trial_complete(trial_id, None, error=True)
            return
        results = _results(evaluation.epochs)
        for result in results:
            self._searcher.on_trial_result(trial_id, result)
        values = dict(zip(self._objectives, evaluation.values, strict=True))
        self._searcher.on_trial_complete(trial_id, {**(results[-1] if results else {}), **values, "done": True})

    def add(self, point: Point, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        if len(self._objectives) > 1:
            raise NotImplementedError
        value = math.nan if evaluation.values is None else evaluation.values[0]
        self._searcher.add_evaluated_point(dict(point), value, error=evaluation.values is None)


def _results(epochs: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    return [{**metrics, "training_iteration": number} for number, metrics in enumerate(epochs, start=1)]


def _trial_id(number: int) -> str:
    return f"{number:08d}"


def _domain(axis: Axis) -> Any:
    from ray import tune

    if isinstance(axis, Choice):
        return tune.choice(list(axis.labels))
    if axis.low == axis.high:
        return tune.choice([axis.fit(axis.low)])
    if axis.whole:
        if axis.step == 1:
            return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
        return (tune.qlograndint if axis.log else tune.qrandint)(int(axis.low), int(axis.high), int(axis.step or 1))
    if axis.step is not None:
        return (tune.qloguniform if axis.log else tune.quniform)(axis.low, axis.high, axis.step)
    return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)
