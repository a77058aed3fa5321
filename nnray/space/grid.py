"""Values that one configuration key takes in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nnray.errors import SpaceError


@dataclass(frozen=True)
class Grid:
    """The values of one key, in order; made by :func:`grid`."""

    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


def grid(*values: Any) -> Grid:
    """Return the values that a key takes in turn: ``grid(8, 16)``, or one iterable, ``grid(range(4))``.

    Numbers of NumPy become Python's, so that ``grid(np.arange(4))`` is four integers.

    Raises:
        SpaceError: If there are no values.
    """
    return Grid(listed("grid", values))


def listed(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values given to ``grid`` or ``zipped``, whichever of the two ways they are written in."""
    if len(values) == 1 and isinstance(values[0], Iterable) and not isinstance(values[0], (str, bytes, dict)):
        values = tuple(values[0])
    if not values:
        raise SpaceError(f"{name}() has no values: give some, as in {name}(8, 16) or {name}(range(4))")
    return tuple(_plain(value) for value in values)


def _plain(value: Any) -> Any:
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value
