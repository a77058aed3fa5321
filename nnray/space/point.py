"""A point of a search space on its way to being trials: sampled, and trained with several seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnray.errors import SpaceError
from nnray.space.distribution import drawn
from nnray.space.product import distributions_in
from nnray.trial.merging import merge

_SEED = "seed"


@dataclass(frozen=True)
class Sampling:
    """How often distributions are drawn from, and the seed of the draws."""

    num_samples: int
    seed: int


@dataclass(frozen=True)
class Point:
    """One point of the product of a space.

    Attributes:
        values: Dotted keys and values; a distribution stands undrawn in them until :meth:`samples`.
        bases: Nested configurations of the spaces that are used inside the sweep, outermost first.
        varied: Keys, spelled in full, that have several values in the space.
        sampling: How its distributions are drawn from, None if nothing says so.
        replicates: How many seeds it is trained with, None if nothing says so.
    """

    values: dict[str, Any] = field(default_factory=dict)
    bases: tuple[Mapping[str, Any], ...] = ()
    varied: frozenset[str] = frozenset()
    sampling: Sampling | None = None
    replicates: int | None = None

    def overrides(self) -> dict[str, Any]:
        """Return what the point changes in the sweep's base: dotted keys, or a nested dict if it has bases."""
        return merge({}, *self.bases, self.values) if self.bases else self.values

    def samples(self) -> Iterator[Point]:
        """Yield the point with a draw in place of each distribution, as often as it is sampled.

        Raises:
            SpaceError: If nothing says how often, or a distribution cannot be drawn from.
        """
        distributions = distributions_in(self.values)
        if not distributions:
            yield self
            return
        if self.sampling is None:
            key = next(iter(distributions))
            raise SpaceError(f"{key} is a distribution: say with num_samples how many values to draw")
        for index in range(self.sampling.num_samples):
            values = drawn(self.values, distributions, self.sampling.seed, index)
            yield dataclasses.replace(self, values=values)

    def with_seeds(self, configuration: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a nested configuration of this point once per replicate, with seeds that count upwards from its own.

        Args:
            configuration: The configuration, which stays as it is.

        Raises:
            SpaceError: If the seed varies anyway, or is not a number.
        """
        if self.replicates is None:
            yield configuration
            return
        if _SEED in self.varied:
            raise SpaceError("replicates are seeds, and the seed is varied in the space too: give one of the two")
        seed = configuration.get(_SEED, 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise SpaceError(f"replicates count upwards from the seed, and {seed!r} is not a whole number")
        for replicate in range(self.replicates):
            yield {**configuration, _SEED: seed + replicate}
