"""Points from Optuna's samplers: TPE, CMA-ES, Gaussian processes, NSGA-II and whatever else it has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnray.errors import SpaceError, did_you_mean
from nnray.sweep.search.axes import Axis, Choice
from nnray.sweep.search.searcher import Evaluation, Point

if TYPE_CHECKING:
    import optuna

_NEEDS_MORE = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler")


class OptunaSearcher:
    """Asks a study of Optuna, kept in memory; a failed trial is one to it as well.

    Args:
        axes: What varies.
        modes: ``max`` or ``min`` for each objective; several make a multi-objective study.
        sampler: A sampler by its short name (``tpe``, ``cmaes``, ``nsgaii``, ``gp``, ``qmc``, ...), or one of Optuna's.
        seed: Of a sampler that is given by name.
        arguments: Further arguments of a sampler that is given by name.

    Raises:
        SpaceError: If there is no such sampler or argument, or it cannot deal with so many objectives.
    """

    def __init__(
        self, axes: Mapping[str, Axis], modes: Sequence[str], sampler: Any, seed: int, arguments: Mapping[str, Any]
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        chosen = _sampler(sampler, seed, arguments) if isinstance(sampler, str) else sampler
        if not isinstance(chosen, optuna.samplers.BaseSampler):
            raise SpaceError(f"search: sampler: a name or a sampler of Optuna is expected, not {sampler!r}")
        if isinstance(chosen, optuna.samplers.CmaEsSampler) and len(modes) > 1:
            raise SpaceError("search: sampler: 'cmaes' takes one objective; 'tpe', 'nsgaii' and 'gp' take several")
        self._space = {key: _distribution(axis) for key, axis in axes.items()}
        self._study = optuna.create_study(
            sampler=chosen, directions=["maximize" if mode == "max" else "minimize" for mode in modes]
        )
        self._asked: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Point | None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        trial = self._study.ask(fixed_distributions=self._space)
        self._asked[number] = trial
        return {key: trial.params[key] for key in self._space}

    def tell(self, number: int, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        from optuna.trial import TrialState

        trial = self._asked.pop(number)
        if evaluation.values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(evaluation.values))

    def add(self, point: Point, evaluation: Evaluation) -> None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        import optuna

        state = optuna.trial.TrialState.FAIL if evaluation.values is None else optuna.trial.TrialState.COMPLETE
        values = None if evaluation.values is None else list(evaluation.values)
        self._study.add_trial(
            optuna.trial.create_trial(state=state, values=values, params=point, distributions=self._space)
        )


def _sampler(name: str, seed: int, arguments: Mapping[str, Any]) -> Any:
    import optuna

    classes = {
        entry.removesuffix("Sampler").lower(): getattr(optuna.samplers, entry)
        for entry in dir(optuna.samplers)
        if entry.endswith("Sampler") and entry not in _NEEDS_MORE
    }
    cls = classes.get(name.lower().replace("-", "").removesuffix("sampler"))
    if cls is None:
        raise SpaceError(f"search: sampler: Optuna has no {name!r}{did_you_mean(name.lower(), classes)}")
    known = inspect.signature(cls).parameters
    for argument in arguments:
        if argument not in known:
            raise SpaceError(
                f"search: Optuna's {cls.__name__} has no argument {argument!r}{did_you_mean(argument, known)}"
            )
    quiet = {key: False for key in known if key.startswith("warn_")}
    return cls(**{**quiet, **({"seed": seed} if "seed" in known else {}), **arguments})


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.labels)
    step = None if axis.log else axis.step  # Optuna has no steps on a logarithmic scale: the search rounds its values
    if axis.whole:
        return IntDistribution(round(axis.low), round(axis.high), log=axis.log, step=round(step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=step)
