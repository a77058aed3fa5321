"""Searchers by name."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

from nnray.errors import SpaceError, did_you_mean
from nnray.sweep.search.axes import Axis
from nnray.sweep.search.isolation import isolated_searcher
from nnray.sweep.search.objectives import Objectives, check_objectives
from nnray.sweep.search.random_search import RandomSearcher
from nnray.sweep.search.ray_search import RayTuneSearcher
from nnray.sweep.search.searcher import Searcher

PACKAGES = {
    "optuna": {"optuna": "optuna"},
    "nevergrad": {"nevergrad": "nevergrad"},
    "ax": {"ax": "ax-platform"},
    "bayesopt": {"bayes_opt": "bayesian-optimization"},
    "bohb": {"hpbandster": "hpbandster", "ConfigSpace": "ConfigSpace"},
    "hebo": {"hebo": "HEBO"},
    "hyperopt": {"hyperopt": "hyperopt"},
    "zoopt": {"zoopt": "zoopt"},
}
"""What each searcher imports, and what that is called for pip."""

NAMES = ("random", *PACKAGES)

_SEEDS = ("seed", "random_state", "random_state_seed")
_OWN_ARGUMENTS = ("space", "metric", "mode")


def describe(search: Any) -> str:
    """Return what a person calls this searcher."""
    if isinstance(search, str):
        return search
    if not isinstance(search, Mapping):
        return type(search).__name__
    kind = search.get("sampler", search.get("optimizer"))
    return f"{search.get('name')} ({kind})" if isinstance(kind, str) else str(search.get("name"))


def objectives_of(search: Any, metric: str, mode: str) -> Objectives:
    """Return what a search looks for: the sweep's ``metric``, unless the searcher names objectives of its own."""
    if isinstance(search, Mapping) and "objectives" in search:
        return check_objectives(search["objectives"])
    own = None if isinstance(search, (str, Mapping)) else getattr(search, "metric", None)
    if not own:
        return {metric: mode}
    metrics, modes = (value if isinstance(value, list) else [value] for value in (own, search.mode))
    return dict(zip(metrics, modes, strict=True))


def make_searcher(search: Any, axes: Mapping[str, Axis], objectives: Objectives, budget: int, seed: int) -> Searcher:
    """Return the searcher that a sweep asks for.

    Args:
        search: A name, a dict of ``name`` and arguments, or a searcher of Ray Tune.
        axes: What varies.
        objectives: What is looked for.
        budget: How many points will be asked for.
        seed: Where ``search`` gives none.

    Raises:
        SpaceError: If there is no such searcher or argument, or its package is not installed.
    """
    with isolated_searcher(abs(seed)):
        if not isinstance(search, (str, Mapping)):
            return _given(search, axes, objectives)
        return _named(search, axes, objectives, budget, seed)


def _named(
    search: str | Mapping[str, Any], axes: Mapping[str, Axis], objectives: Objectives, budget: int, seed: int
) -> Searcher:
    arguments = dict(search) if isinstance(search, Mapping) else {"name": search}
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name.lower() not in NAMES:
        raise SpaceError(f"search: there is no searcher {name!r}{did_you_mean(str(name), NAMES)}")
    name = name.lower()
    arguments.pop("objectives", None)
    missing = [package for module, package in PACKAGES.get(name, {}).items() if not importlib.util.find_spec(module)]
    if missing:
        raise SpaceError(f"search: {name} needs a package that is not installed: pip install {' '.join(missing)}")
    seed = _seed(arguments.pop("seed", seed))
    if not axes:
        raise SpaceError("search: nothing varies: give the space distributions (tune.loguniform(...)) or grids")
    modes = tuple(objectives.values())
    if name == "random":
        _refuse(name, arguments, ())
        return RandomSearcher(axes, seed)
    if name == "optuna":
        from nnray.sweep.search.optuna_search import OptunaSearcher

        return OptunaSearcher(axes, modes, arguments.pop("sampler", "tpe"), seed, arguments)
    if name == "nevergrad":
        from nnray.sweep.search.nevergrad_search import NevergradSearcher

        return NevergradSearcher(axes, modes, arguments.pop("optimizer", "NGOpt"), budget, seed, arguments)
    return RayTuneSearcher(_made(name, arguments, budget, seed), axes, objectives)


def _given(search: Any, axes: Mapping[str, Axis], objectives: Objectives) -> Searcher:
    from ray.tune.search import Searcher as RaySearcher

    if not isinstance(search, RaySearcher):
        raise SpaceError(
            f"search: a name ({', '.join(NAMES)}), a dict of 'name' and arguments or a searcher of Ray Tune is "
            f"expected, not {search!r}"
        )
    return RayTuneSearcher(search, axes, objectives)


def _made(name: str, arguments: Mapping[str, Any], budget: int, seed: int) -> Any:
    """Return one of Ray Tune's searchers, made by its name."""
    from ray.tune.search import SEARCH_ALG_IMPORT

    try:
        cls = SEARCH_ALG_IMPORT[name]()
        known = [key for key in inspect.signature(cls).parameters if key not in _OWN_ARGUMENTS]
        _refuse(name, arguments, known)
        seeds = {key: seed for key in _SEEDS if key in known}
        return cls(**{**seeds, **({"budget": budget} if "budget" in known else {}), **arguments})
    except SpaceError:
        raise
    except Exception as error:  # a package of another version than Ray Tune expects shows itself in many ways
        raise SpaceError(f"search: {name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _refuse(name: str, arguments: Mapping[str, Any], known: Any) -> None:
    for argument in arguments:
        if argument not in known:
            raise SpaceError(
                f"search: {name} has no argument {argument!r}{did_you_mean(argument, ('seed', 'objectives', *known))}"
            )


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpaceError(f"search: seed: {value!r} is not a whole number")
    return value
