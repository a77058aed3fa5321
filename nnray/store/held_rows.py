"""The rows of trials in memory, each of them once: a trial's part of arrays that it shares with others."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


class HeldRows:
    """The rows of one trial.

    Args:
        arrays: Its columns, or those of several trials.
        start: Where its rows begin in there.
        count: How many it has; by default all to the end.
    """

    __slots__ = ("_arrays", "_start", "count")

    def __init__(self, arrays: Sequence[pa.Array], start: int = 0, count: int | None = None) -> None:
        self._arrays, self._start = arrays, start
        self.count: int = len(arrays[0]) - start if count is None else count

    def arrays(self) -> list[pa.Array]:
        """Return the columns, which are views."""
        return [array.slice(self._start, self.count) for array in self._arrays]

    def part(self) -> None:
        """Hold the rows apart from those of other trials, which then can go without them."""
        self._arrays, self._start = [pa.concat_arrays([array]) for array in self.arrays()], 0  # which copies


def put_together(trials: Sequence[HeldRows]) -> list[pa.Array]:
    """Return the columns of all ``trials``, one trial after another; from now on their rows are held there alone.

    Args:
        trials: The rows of at least one trial, all with columns of the same types.
    """
    whole = [pa.concat_arrays(parts) for parts in zip(*(trial.arrays() for trial in trials), strict=True)]
    start = 0
    for trial in trials:
        trial._arrays, trial._start = whole, start
        start += trial.count
    return whole
