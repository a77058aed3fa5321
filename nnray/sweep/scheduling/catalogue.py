"""Schedulers by name, with their arguments checked and the defaults that fit epochs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import SCHEDULER_IMPORT, PopulationBasedTrainingReplay, TrialScheduler

from nnray.errors import SpaceError, did_you_mean
from nnray.trial.merging import full_key

_ALIASES = {"asha": "async_hyperband", "median": "medianstopping"}
_OF_EPOCHS = {"time_attr": "training_iteration"}
_MUTATIONS = ("hyperparam_mutations", "hyperparam_bounds")


def scheduler_names() -> list[str]:
    """Return every name that a sweep's ``scheduler`` can have: Ray Tune's, and ``asha`` and ``median``.

    The replay of a population is none of them: it needs a file that Ray writes and nnray doesn't.
    """
    return sorted({*_ALIASES, *SCHEDULER_IMPORT} - {"pbt_replay"})


def make_scheduler(spec: Any, metric: str, mode: str, max_t: int) -> TrialScheduler:
    """Return a fresh scheduler of Ray Tune.

    Time is counted in epochs (``training_iteration`` is the epoch + 1) unless the arguments say otherwise.

    Args:
        spec: A name, a dict of ``name`` and arguments, or a scheduler, which is copied.
        metric: What it looks at where the specification names nothing else.
        mode: Whether a larger (``max``) or smaller (``min``) value is better.
        max_t: Epochs of the longest trial.

    Raises:
        SpaceError: On an unknown name or argument, or a value that the scheduler refuses.
    """
    if isinstance(spec, TrialScheduler):
        if isinstance(spec, PopulationBasedTrainingReplay):
            raise SpaceError("scheduler: the replay of a population is not possible here")
        scheduler = copy.deepcopy(spec)  # it counts trials, and a sweep can be run again
        for argument in _MUTATIONS:
            if hasattr(scheduler, f"_{argument}"):
                setattr(scheduler, f"_{argument}", _with_full_keys(getattr(scheduler, f"_{argument}")))
    else:
        name, arguments = named(spec)
        scheduler = _build(name, arguments, max_t)
    scheduler.set_search_properties(
        None if scheduler.metric else metric, None if getattr(scheduler, "_mode", None) else mode
    )
    return scheduler


def named(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of a specification that is a name or a dict, the keys of mutations written out."""
    if isinstance(spec, Mapping):
        arguments = dict(spec)
        name = arguments.pop("name", None)
        if name is None:
            raise SpaceError(f"scheduler: the dict has no 'name': {{'name': 'asha', ...}} is expected, not {spec!r}")
    else:
        name, arguments = spec, {}
    if not isinstance(name, str):
        raise SpaceError(f"scheduler: a name, a dict or a scheduler of Ray Tune is expected, not {name!r}")
    if name.lower() not in scheduler_names():
        raise SpaceError(f"scheduler: there is no {name!r}{did_you_mean(name, scheduler_names())}")
    for argument in _MUTATIONS:
        if isinstance(arguments.get(argument), Mapping):
            arguments[argument] = _with_full_keys(arguments[argument])
    return name.lower(), arguments


def class_of(name: str) -> type[TrialScheduler]:
    """Return the class that a name of :func:`scheduler_names` stands for."""
    cls = SCHEDULER_IMPORT[_ALIASES.get(name, name)]
    return cls() if inspect.isfunction(cls) else cls  # PB2 is imported only when asked for


def _with_full_keys(mutations: Mapping[str, Any]) -> dict[str, Any]:
    return {full_key(str(key)): value for key, value in mutations.items()}


def _build(name: str, arguments: dict[str, Any], max_t: int) -> TrialScheduler:
    cls = class_of(name)
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    for argument in arguments:
        if argument not in known:
            raise SpaceError(f"scheduler {name}: there is no argument {argument!r}{did_you_mean(argument, known)}")
    defaults = {**_OF_EPOCHS, "max_t": max_t, "perturbation_interval": max(1, max_t // 10), "log_config": False}
    if cls is SCHEDULER_IMPORT["medianstopping"]:
        defaults["grace_period"] = max(1, max_t // 10)  # Ray's is a minute
    given = {key: value for key, value in defaults.items() if key in known} | arguments
    try:
        return cls(**given)
    except Exception as error:  # Ray checks with asserts and errors of several kinds
        raise SpaceError(f"scheduler {name}: {' '.join(str(error).split()) or type(error).__name__}") from error
