"""From a sweep to the configurations of its trials: resolved, signed, each one once, named, with what each occupies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnray.counting import counted
from nnray.errors import SpaceError
from nnray.space.resources import Resources
from nnray.space.sweep import Sweep
from nnray.trial.configuration import Configuration, Resolver
from nnray.trial.name import configuration_names

_CHECKED_PARTS = 200
"""So many different networks are built to see whether they can be; of more, the rest show it when they run."""


@dataclass(frozen=True)
class Expansion:
    """The trials that a sweep asks for.

    Attributes:
        configurations: Their configurations, no two with the same signature, in the order of the sweep.
        names: What they are called there.
        resources: What they occupy.
        notes: What a person should know of them, a line each.
    """

    configurations: tuple[Configuration, ...]
    names: tuple[str, ...]
    resources: tuple[Resources, ...]
    notes: tuple[str, ...]


def expand(sweep: Sweep, folder: Path, settings: Mapping[str, Any] | None = None) -> Expansion:
    """Return the trials of ``sweep``.

    Args:
        sweep: What is asked for.
        folder: Where its base file is looked up.
        settings: Dotted keys that win over all others; grids among them multiply the sweep.

    Raises:
        ConfigurationError: If a trial's configuration is wrong.
        SpaceError: If there are no trials, or the sweep's functions fail.
    """
    configurations: dict[str, Configuration] = {}
    numbers: dict[str, int] = {}
    resolver = Resolver()
    merged: list[tuple[int, str]] = []
    population = population_of(sweep)
    for number, raw in enumerate(sweep.configurations(folder, settings), start=1):
        if population is not None:
            raw = {**raw, "source": " ".join(filter(None, (raw.get("source"), population)))}
        configuration = resolver.resolve(raw)
        signature = configuration.full_signature
        if signature in configurations:
            merged.append((number, signature))
        else:
            configurations[signature] = configuration
            numbers[signature] = number
    if not configurations:
        raise SpaceError(f"the sweep {sweep.name} has no trials: what its field 'trials' gives is empty")
    names = dict(zip(configurations, configuration_names([c.values for c in configurations.values()]), strict=True))
    _refuse_impossible_parts(configurations.values())
    resources = tuple(_resources(sweep, configurations.values(), names))
    return Expansion(
        tuple(map(with_workers, configurations.values(), resources)),
        tuple(names.values()),
        resources,
        tuple(_duplicates(merged, numbers, names)),
    )


def population_of(sweep: Sweep) -> str | None:
    """Return the text that sets the trials of a population apart from plain ones; None if they are plain ones."""
    if sweep.scheduler is None:
        return None
    from nnray.sweep.scheduling import population_source

    return population_source(sweep)


def with_workers(configuration: Configuration, resources: Resources) -> Configuration:
    """Return the configuration of a trial with these resources: how many workers train it is a part of it."""
    same = configuration.values["workers"] == resources.workers
    return configuration if same else configuration.with_workers(resources.workers)


def _duplicates(merged: list[tuple[int, str]], numbers: Mapping[str, int], names: Mapping[str, str]) -> list[str]:
    if not merged:
        return []
    number, signature = merged[0]
    what = counted(len(merged), "duplicates")
    return [
        f"{what} merged: trials {numbers[signature]} and {number} ({names[signature]})"
        f"{', for example,' if len(merged) > 1 else ''} differ in nothing that can change a result"
    ]


def _resources(sweep: Sweep, configurations: Iterable[Configuration], names: Mapping[str, str]) -> Iterator[Resources]:
    for configuration in configurations:
        yield resources_of(sweep, configuration, names[configuration.full_signature])


def resources_of(sweep: Sweep, configuration: Configuration, name: str) -> Resources:
    """Return what one trial of ``sweep`` occupies; a SpaceError tells the trial's ``name``.

    Where only one of the sweep and the configuration asks for several workers, that counts.
    """
    resources, workers = _stated_resources(sweep, configuration, name), configuration.values["workers"]
    if 1 != resources.workers != workers != 1:
        raise SpaceError(
            f"resources: {resources.workers} workers are asked for, but the configuration says workers: {workers} "
            f"(of the trial {name})"
        )
    return resources if resources.workers != 1 or workers == 1 else replace(resources, workers=workers)


def _stated_resources(sweep: Sweep, configuration: Configuration, name: str) -> Resources:
    if not callable(sweep.resources):
        return Resources.of(sweep.resources)
    copied = json.loads(json.dumps(configuration.values))  # what the function does to it stays its own affair
    try:
        values = sweep.resources(copied)
    except Exception as error:  # the person's own function
        fact = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpaceError(f"resources: the function fails for the trial {name}: {fact}") from error
    try:
        return Resources.of(values)
    except SpaceError as error:
        raise SpaceError(f"{error} (of the trial {name})") from error


def _refuse_impossible_parts(configurations: Iterable[Configuration]) -> None:
    objects: set[tuple[int, int]] = set()  # equal parts are mostly one object, which is seen without a look into them
    seen: set[str] = set()
    for configuration in configurations:
        data, model = configuration.values["data"], configuration.values["model"]
        if (id(data), id(model)) in objects:
            continue
        objects.add((id(data), id(model)))
        parts = json.dumps([data, model], sort_keys=True)
        if parts not in seen:
            configuration.check_parts()
            seen.add(parts)
        if len(seen) == _CHECKED_PARTS:
            return
