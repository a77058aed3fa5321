"""The space of a search: which keys vary, and what configuration a point stands for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.errors import SpaceError
from nnray.space.distribution import is_distribution
from nnray.space.product import distributions_in, factors, points
from nnray.space.sweep import Sweep
from nnray.sweep.search.axes import Axis, Choice, axis_of
from nnray.sweep.search.searcher import Point
from nnray.trial.merging import full_key

TRIALS = "trials"
"""The key by which points name one of the dicts that the sweep's ``trials`` yields."""


@dataclass(frozen=True)
class SearchSpace:
    """What varies in a search.

    Attributes:
        axes: What varies, mostly by the dotted keys of the configuration, and what it may be.
        bundles: Those of the axes whose choices are dicts of several keys: zipped keys, and ``trials``.
        constants: Keys that are the same for all trials.
    """

    axes: Mapping[str, Axis]
    bundles: frozenset[str]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, sweep: Sweep, folder: Path, settings: Mapping[str, Any]) -> SearchSpace:
        """Return the space of ``sweep``: distributions; and as choices its grids, zipped keys and ``trials``.

        Args:
            sweep: The sweep.
            folder: Where the base files of spaces that are used inside of it are looked up.
            settings: Dotted keys that win over those of the space; they may vary, too.

        Raises:
            SpaceError: If a distribution has no bounds or is not for all trials, or ``trials`` sets a key that the
                space sets too.
        """
        is_set = {full_key(key) for key in settings}
        constants: dict[str, Any] = {}
        choices: dict[str, Choice] = {}
        numbers: dict[str, Any] = {}
        bundles: set[str] = set()
        if sweep.trials is not None:
            choices[TRIALS] = Choice.of(list(_trials(sweep, folder)))
            bundles.add(TRIALS)
        inside = {key: value for key, value in sweep.space.items() if full_key(key) not in is_set}
        for where, values in (("space", inside), ("settings", settings)):
            common, varying = factors(where, values)
            for key, value in common.items():
                (numbers if is_distribution(value) else constants)[key] = value
            for keys, steps in varying:
                values_there = [point for step in steps for point in points(where, dict(zip(keys, step, strict=True)))]
                _refuse_distributions(where, values_there)
                if all(point.keys() == {keys[0]} for point in values_there):
                    choices[keys[0]] = Choice.of([point[keys[0]] for point in values_there])
                else:
                    choices[" ".join(keys)] = Choice.of(values_there)
                    bundles.add(" ".join(keys))
        axes = {**choices, **{key: axis_of(key, value) for key, value in numbers.items()}}
        order = {full_key(key): index for index, key in enumerate((TRIALS, *inside, *settings))}
        axes = dict(sorted(axes.items(), key=lambda entry: order.get(full_key(entry[0].split()[0]), len(order))))
        return cls(axes, frozenset(bundles), constants)

    @property
    def size(self) -> float:
        """How many points there are; infinite where a float varies."""
        return math.prod(axis.size for axis in self.axes.values())

    def fit(self, proposal: Mapping[str, Any]) -> Point:
        """Return the point that a searcher's proposal stands for: plain data, each value one of its axis.

        A key that is no axis, from a searcher with a space of its own, stays as it is.

        Raises:
            SpaceError: If the proposal lacks a key, or has a value that is none of its axis.
        """
        missing = self.axes.keys() - proposal.keys()
        if missing:
            raise SpaceError(f"search: the searcher proposes nothing for {', '.join(sorted(missing))}")
        return {
            key: self.axes[key].fit(value) if key in self.axes else _plain(value) for key, value in proposal.items()
        }

    def overrides(self, point: Point) -> dict[str, Any]:
        """Return the keys of the trial at ``point``: dotted, nested or both."""
        return {**self.constants, **self.varied(point)}

    def varied(self, point: Point) -> dict[str, Any]:
        """Return what ``point`` sets: :meth:`overrides` without what is the same for all trials."""
        values: dict[str, Any] = {}
        for key, label in point.items():
            axis = self.axes.get(key)
            value: Any = axis.value(label) if isinstance(axis, Choice) else label
            values.update(value if key in self.bundles else {key: value})
        return values

    def recognised(self, point: Mapping[str, Any], configuration: Mapping[str, Any]) -> Point | None:
        """Return where in this space a trial lies that another space may have made; None if that cannot be told.

        Args:
            point: The point that it was made from, if any.
            configuration: Its resolved configuration by dotted keys.
        """
        if not self.axes:
            return dict(point)  # of a searcher with a space of its own
        found = {
            key: point[key] if key in point or key in self.bundles else configuration.get(full_key(key))
            for key in self.axes
            if key in point or key not in self.bundles
        }
        there = all(key in found and found[key] in axis for key, axis in self.axes.items())
        return found if there else None

    def corners(self) -> list[Point]:
        """Return a few points at which every choice, and both ends of every number, appear."""
        ends = {key: tuple(axis.corners()) for key, axis in self.axes.items()}
        longest = max(map(len, ends.values()), default=0)
        return [{key: values[index % len(values)] for key, values in ends.items()} for index in range(longest)]


def _trials(sweep: Sweep, folder: Path) -> Iterator[dict[str, Any]]:
    alone = dataclasses.replace(sweep, space={}, search=None, num_samples=None, replicates=None)
    in_space = {full_key(key) for key in sweep.space}
    for number, point in enumerate(alone.points(folder), start=1):
        _refuse_distributions(f"trials: number {number}", [point.values])
        if point.replicates is not None:
            raise SpaceError(f"trials: number {number}: a search trains each point once: leave its replicates out")
        both = [key for key in point.values if full_key(key) in in_space]
        if both:
            raise SpaceError(f"trials: number {number} sets {both[0]}, which the space sets too")
        yield point.overrides()


def _refuse_distributions(where: str, values: list[dict[str, Any]]) -> None:
    for point in values:
        for key in distributions_in(point):
            raise SpaceError(
                f"{where}: {key} is a distribution that only some trials have: a searcher varies the same keys always, "
                "so put it into the space itself"
            )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
