"""Which hyperparameters a population can change while it trains, and what sets its trials apart from plain ones."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.search.sample import Domain

from nnray.errors import SpaceError, did_you_mean
from nnray.space.sweep import Sweep
from nnray.sweep.scheduling.catalogue import class_of, named
from nnray.trial.configuration import Configuration, resolve
from nnray.trial.merging import merge

_PARTS = ("optimizer", "data", "task", "model")
_ALONE = ("trainer.gradient_clip_val",)


def population_source(sweep: Sweep) -> str | None:
    """Return what the configurations of a population say as their ``source``; None for any other sweep.

    A trial of a population depends on the others, so it must not pass for the plain trial with the same start. Its
    signature tells the sweep and the scheduler's arguments.
    """
    spec = sweep.scheduler
    if isinstance(spec, TrialScheduler):
        name, arguments, cls = type(spec).__name__, _arguments(spec), type(spec)
    else:
        name, arguments = named(spec)
        cls = class_of(name)
    if not issubclass(cls, PopulationBasedTraining):
        return None
    arguments = {"metric": sweep.metric, "mode": sweep.mode} | {k: v for k, v in arguments.items() if k != "log_config"}
    return f"{name} of the sweep {sweep.name}: {json.dumps(_stable(arguments), sort_keys=True)}"


def perturbed_keys(scheduler: PopulationBasedTraining, configurations: Iterable[Configuration]) -> tuple[str, ...]:
    """Return the dotted keys that ``scheduler`` changes, checked to be ones that can change in these trials.

    Raises:
        SpaceError: If a key is not in a configuration, or cannot change while a trial trains.
    """
    mutations = scheduler._hyperparam_mutations
    configurations = list(configurations)
    if len({configuration.values["trainer"]["max_epochs"] for configuration in configurations}) > 1:
        raise SpaceError("scheduler: the trials of a population must have the same trainer.max_epochs")
    for key, choices in mutations.items():
        if isinstance(choices, Mapping):
            raise SpaceError(f"scheduler: {key}: nested mutations are written as dotted keys, such as optimizer.lr")
        _check(key, choices, configurations[0])
        for configuration in configurations:
            _value(key, configuration)
    return tuple(mutations)


def _check(key: str, choices: Any, configuration: Configuration) -> None:
    value = _value(key, configuration)
    part, _, name = key.partition(".init_args.")
    if key not in _ALONE and (part not in _PARTS or not name):
        raise SpaceError(
            f"scheduler: {key} cannot change while a trial trains; what can: arguments of {', '.join(_PARTS)}, and "
            f"{_ALONE[0]}"
        )
    if part == "optimizer":
        group = configuration.factory("optimizer")([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
        if name not in group:
            kept = sorted(group.keys() - {"params"})
            raise SpaceError(f"scheduler: {key} cannot change while a trial trains{did_you_mean(name, kept)}")
    if part == "model":
        shapes = _shapes(configuration)
        for other in _examples(value, choices):
            if _shapes(resolve(merge(configuration.values, {key: other}))) != shapes:
                raise SpaceError(
                    f"scheduler: {key} changes the shape of the network, whose weights trials take over from each other"
                )


def _value(key: str, configuration: Configuration) -> Any:
    flat = configuration.flat()
    if key not in flat:
        raise SpaceError(f"scheduler: there is no key {key!r} in the configuration{did_you_mean(key, flat)}")
    return flat[key]


def _examples(value: Any, choices: Any) -> list[Any]:
    if isinstance(choices, (list, tuple)):
        return list(choices)
    drawn = [choices.sample() if isinstance(choices, Domain) else choices() for _ in range(3)]
    return [type(value)(each) if isinstance(value, (int, float)) else each for each in drawn]


def _shapes(configuration: Configuration) -> dict[str, torch.Size]:
    facts = configuration.data_facts(configuration.build_data())
    with torch.device("meta"):
        model = configuration.build_model(facts)
    return {} if model is None else {name: tensor.shape for name, tensor in model.state_dict().items()}


def _arguments(scheduler: TrialScheduler) -> dict[str, Any]:
    names = list(inspect.signature(type(scheduler).__init__).parameters)[1:]
    found = vars(scheduler)
    return {name: found[f"_{name}"] for name in names if f"_{name}" in found}


def _stable(value: Any) -> Any:
    """Return plain data that is the same in every process; distributions and functions are told by what they are."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _stable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_stable(each) for each in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    state = {**getattr(value, "__dict__", {})}
    return {"class": type(value).__name__, **({key: _stable(each) for key, each in state.items()})}
