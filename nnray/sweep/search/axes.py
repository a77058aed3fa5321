"""What a searcher may vary, one key at a time: a number between bounds, or one of several choices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnray.errors import SpaceError
from nnray.space.distribution import Distribution

Scalar = None | bool | int | float | str


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``, both included.

    Attributes:
        low: The smallest value.
        high: The largest value.
        log: Whether its logarithm is what varies evenly.
        step: Values are multiples of this; None for any float.
        whole: Whether it is an integer.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.step is None:
            return 1 if self.low == self.high else math.inf
        return round((self.high - self.low) / self.step) + 1

    def draw(self, generator: np.random.Generator) -> Scalar:
        """Return a random value."""
        if self.log:
            # A whole number takes the same share of the logarithm's range as of the range itself when it is rounded.
            margin = self.step / 2 if self.step else 0.0
            low = max(self.low - margin, self.low / 2)
            return self.fit(math.exp(generator.uniform(math.log(low), math.log(self.high + margin))))
        if self.step is not None:
            return self.fit(self.low + self.step * int(generator.integers(int(self.size))))
        return self.fit(generator.uniform(self.low, self.high))

    def fit(self, value: Any) -> Scalar:
        """Return the value that stands for a searcher's ``value``: one of this axis, and of Python's own types."""
        number = float(value)
        if self.step is not None:
            number = float(f"{round(number / self.step) * self.step:.12g}")  # 0.3 and not 0.30000000000000004
        number = min(max(number, self.low), self.high)
        return round(number) if self.whole else number

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        return self.fit(value) == value

    def corners(self) -> Iterable[Scalar]:
        """Yield the values at the ends."""
        yield from dict.fromkeys((self.fit(self.low), self.fit(self.high)))


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        labels: What searchers and records know the values by: scalars themselves, and of others their JSON text.
        values: The values.
    """

    labels: tuple[Scalar, ...]
    values: tuple[Any, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Choice:
        """Return the choice among ``values``, those that appear twice once."""
        labels = [value if _is_scalar(value) else json.dumps(value, sort_keys=True, default=repr) for value in values]
        distinct = {(type(label), label): pair for label, *pair in zip(labels, labels, values, strict=True)}
        return cls(*(tuple(column) for column in zip(*distinct.values(), strict=True)))

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.labels)

    def draw(self, generator: np.random.Generator) -> Scalar:
        """Return a random label."""
        return self.labels[int(generator.integers(len(self.labels)))]

    def fit(self, value: Any) -> Scalar:
        """Return the label that a searcher's ``value`` stands for."""
        value = value.item() if isinstance(value, np.generic) else value
        if value in self:
            return value
        equal = [label for label in self.labels if label == value]  # a searcher's array made 1.0 of 1
        if not equal:
            raise SpaceError(f"{value!r} is none of {', '.join(map(repr, self.labels))}")
        return equal[0]

    def __contains__(self, value: Any) -> bool:
        return any(label == value and type(label) is type(value) for label in self.labels)

    def value(self, label: Scalar) -> Any:
        """Return the value that ``label`` stands for."""
        known = ((type(own), own) for own in self.labels)
        return dict(zip(known, self.values, strict=True))[(type(label), label)]

    def corners(self) -> Iterable[Scalar]:
        """Yield every label."""
        yield from self.labels


Axis = Number | Choice


def axis_of(key: str, domain: Any) -> Axis:
    """Return what a distribution of Ray Tune says, for searchers of every kind.

    Raises:
        SpaceError: If it has no bounds (``tune.randn``), or is a function.
    """
    if isinstance(domain, Distribution):
        domain = _of_ray_tune(domain)
    sampler, step = domain.get_sampler(), None
    if type(sampler).__name__ == "Quantized":
        sampler, step = sampler.get_sampler(), sampler.q
    kind = next((cls.__name__ for cls in type(domain).__mro__ if cls.__name__ in _BOUNDED), None)
    law = next((cls.__name__.strip("_") for cls in type(sampler).__mro__ if cls.__name__.strip("_") in _LAWS), None)
    if kind == "Categorical" and law == "Uniform":
        if not domain.categories:
            raise SpaceError(f"space: {key}: the choice has no values")
        return Choice.of(domain.categories)
    if kind is None or law is None or not (math.isfinite(domain.lower) and math.isfinite(domain.upper)):
        raise SpaceError(
            f"space: {key}: a searcher needs bounds or choices (tune.uniform, tune.loguniform, tune.randint, "
            f"tune.choice, ..., grid), which this distribution ({type(domain).__name__} {domain.domain_str}) has not"
        )
    low, high = domain.lower, domain.upper
    if kind == "Integer":
        high -= step in (None, 1)  # Tune's upper bound is not included, except in multiples of more than one
        step = step or 1
    if step is not None:
        low, high = _clean(math.ceil(low / step - 1e-9), step), _clean(math.floor(high / step + 1e-9), step)
    if low > high:
        raise SpaceError(f"space: {key}: there is no value between {domain.lower} and {domain.upper}")
    return Number(low, high, log=law == "LogUniform", step=step, whole=kind == "Integer")


_BOUNDED = ("Categorical", "Integer", "Float")
_LAWS = ("Uniform", "LogUniform")


def _of_ray_tune(distribution: Distribution) -> Any:
    from ray import tune

    arguments: Any = distribution.arguments
    return getattr(tune, distribution.name)(*([list(arguments)] if distribution.name == "choice" else arguments))


def _clean(count: int, step: float) -> float:
    return float(f"{count * step:.12g}")


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
