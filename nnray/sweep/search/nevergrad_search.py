"""Points from Nevergrad: any of its optimizers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnray.errors import SpaceError, did_you_mean
from nnray.sweep.search.axes import Axis, Choice
from nnray.sweep.search.searcher import Evaluation, Point

_WORST = 1e10
"""What a failed trial is told as before anything is known, a loss."""


class NevergradSearcher:
    """Asks an optimizer of Nevergrad.

    Nevergrad knows no failures, and some of its optimizers wait for every result: a failed trial is told as the worst
    one so far.

    Args:
        axes: What varies.
        modes: ``max`` or ``min`` for each objective.
        optimizer: The optimizer's name in Nevergrad's registry.
        budget: How many points will be asked for, by which some optimizers choose what they do.
        seed: Decides its draws.
        arguments: Further arguments of the optimizer (``num_workers``).

    Raises:
        SpaceError: If there is no such optimizer or argument.
    """

    def __init__(
        self,
        axes: Mapping[str, Axis],
        modes: Sequence[str],
        optimizer: str,
        budget: int,
        seed: int,
        arguments: Mapping[str, Any],
    ) -> None:
        import nevergrad as ng

        registry = ng.optimizers.registry
        if not isinstance(optimizer, str) or optimizer not in registry:
            raise SpaceError(
                f"search: Nevergrad has no optimizer {optimizer!r}{did_you_mean(str(optimizer), registry)}"
            )
        known = ("num_workers",)
        for argument in arguments:
            if argument not in known:
                raise SpaceError(
                    f"search: Nevergrad's optimizers have no argument {argument!r}{did_you_mean(argument, known)}"
                )
        parametrization = ng.p.Dict(**{key: _parameter(axis) for key, axis in axes.items()})
        parametrization.random_state.seed(seed % 2**32)
        try:
            self._optimizer = registry[optimizer](parametrization=parametrization, budget=budget, **arguments)
        except Exception as error:  # what an optimizer cannot deal with, it says in many ways
            raise SpaceError(f"search: Nevergrad's {optimizer}: {' '.join(str(error).split())}") from error
        self._one_by_one = bool(self._optimizer.no_parallelization)
        self._signs = [-1.0 if mode == "max" else 1.0 for mode in modes]
        self._asked: dict[int, Any] = {}
        self._worst = [_WORST for _ in modes]
        self._told = False

    def ask(self, number: int) -> Point | None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        if self._one_by_one and self._asked:
            return None
        candidate = self._optimizer.ask()
        self._asked[number] = candidate
        return dict(candidate.value)

    def tell(self, number: int, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        self._tell(self._asked.pop(number), evaluation)

    def add(self, point: Point, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        import nevergrad as ng

        if self._one_by_one:
            raise NotImplementedError  # it follows a path of its own
        candidate = self._optimizer.parametrization.spawn_child(new_value=point)
        try:
            self._tell(candidate, evaluation)
        except ng.errors.TellNotAskedNotSupportedError as error:
            raise NotImplementedError from error

    def _tell(self, candidate: Any, evaluation: Evaluation) -> None:
        if evaluation.values is None:
            losses = list(self._worst)
        else:
            losses = [sign * value for sign, value in zip(self._signs, evaluation.values, strict=True)]
            known = self._worst if self._told else losses
            self._worst = [max(pair) for pair in zip(known, losses, strict=True)]
            self._told = True
        self._optimizer.tell(candidate, losses[0] if len(losses) == 1 else losses)


def _parameter(axis: Axis) -> Any:
    import nevergrad as ng

    if isinstance(axis, Choice):
        return ng.p.Choice(list(axis.labels))
    if axis.low == axis.high:
        return ng.p.Choice([axis.fit(axis.low)])
    # Without an exponent of its own, a step over the logarithm is a sixth of its range, as that of a Scalar is.
    make = ng.p.Log if axis.log else ng.p.Scalar
    parameter = make(lower=axis.low, upper=axis.high)
    return parameter.set_integer_casting() if axis.whole else parameter
