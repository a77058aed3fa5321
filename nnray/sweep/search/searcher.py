"""What a search needs of whatever proposes its points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from nnray.sweep.search.axes import Scalar

Point = dict[str, Scalar]
"""A value (of a choice: its label) per key that varies: plain data."""


class NothingMoreError(Exception):
    """A searcher has no further point to propose."""


@dataclass(frozen=True)
class Evaluation:
    """What became of a point.

    Attributes:
        values: A number per objective, None for a trial that failed.
        epochs: The metrics of each epoch that has all objectives, for searchers that look at whole curves.
    """

    values: tuple[float, ...] | None
    epochs: tuple[Mapping[str, float], ...] = ()


FAILURE = Evaluation(None)


class Searcher(Protocol):
    """Proposes points and learns what became of them.

    Seeded, it must be a function of what it was asked and told, in that order: this is how a search is continued.
    """

    def ask(self, number: int) -> Point | None:
        """Return the point of trial ``number``, or None if that takes results that are not there yet.

        Raises:
            NothingMoreError: If there is no further point.
        """

    def tell(self, number: int, evaluation: Evaluation) -> None:
        """Note what became of the point that :meth:`ask` gave for ``number``."""

    def add(self, point: Point, evaluation: Evaluation) -> None:
        """Note what became of a point that it was not asked for.

        Raises:
            NotImplementedError: If it cannot take such points.
        """
