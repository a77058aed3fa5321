"""Points drawn at random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnray.sweep.search.axes import Axis
from nnray.sweep.search.searcher import Evaluation, Point


class RandomSearcher:
    """Draws every key of every point independently.

    The point of a number depends on that number and the seed alone.

    Args:
        axes: What varies.
        seed: Decides the draws.
    """

    def __init__(self, axes: Mapping[str, Axis], seed: int) -> None:
        self._axes, self._seed = axes, seed

    def ask(self, number: int) -> Point | None:
        """See :class:`~nnray.sweep.search.searcher.Searcher`."""
        generator = np.random.default_rng([abs(self._seed), number])
        return {key: axis.draw(generator) for key, axis in self._axes.items()}

    def tell(self, number: int, evaluation: Evaluation) -> None:
        """Nothing depends on results."""

    def add(self, point: Point, evaluation: Evaluation) -> None:
        """Nothing depends on results."""
