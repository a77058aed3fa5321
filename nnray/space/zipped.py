"""Values of several keys that are taken together instead of being multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nnray.space.grid import listed


@dataclass(frozen=True)
class Zipped:
    """The values of one key that go with those of the other keys of its group; made by :func:`zipped`."""

    values: tuple[Any, ...]
    group: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


def zipped(*values: Any, group: str = "") -> Zipped:
    """Return values that a key takes in step with the other zipped keys, as ``zip`` pairs them.

    ``{"model.width": zipped(8, 16), "optimizer.lr": zipped(1e-3, 1e-2)}`` are two trials. All zipped keys of one space
    (or of one dict that ``trials`` yields) must have equally many values and are one factor of its product; keys of
    different groups are paired apart from each other and multiplied.

    Args:
        values: The values, or one iterable of them, as for :func:`~nnray.grid`.
        group: Names the keys that are paired with each other.

    Raises:
        SpaceError: If there are no values.
    """
    return Zipped(listed("zipped", values), group)
