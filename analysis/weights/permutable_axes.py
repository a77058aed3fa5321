"""Which axes of which weights can be permuted together without changing what a network computes, from its graph.

The units of a layer can be put in another order if the weights of the layers that read them follow. Each value in the
graph has an axis of units (channels of images, features of vectors and tokens); what its units are is described by
segments, each of which stands for a group of units that move together. Additions make two groups one, concatenations
put segments side by side, flattening repeats each unit for its places. Whatever is not known to treat units alike keeps
its inputs and outputs in place, so that a permutation never changes the function; groups may then be missed.

Source: Ainsworth et al. 2023, "Git Re-Basin", arXiv:2209.04836, section 2 (where the groups are written by hand).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

FIXED = -1
"""The group of units that stay where they are."""


class Segment(NamedTuple):
    """Consecutive entries along an axis.

    Attributes:
        group: Whose units they are, or :data:`FIXED`.
        size: Number of units.
        repeat: Number of consecutive entries that each unit has.
    """

    group: int
    size: int
    repeat: int = 1

    @property
    def entries(self) -> int:
        """Number of entries."""
        return self.size * self.repeat


Axis = tuple[Segment, ...]


@dataclass(frozen=True)
class PermutableAxes:
    """How a network's units can be permuted.

    Attributes:
        sizes: Number of units of each group.
        axes: For each entry of the state dict, what the units along some of its axes are.
    """

    sizes: dict[int, int]
    axes: dict[str, dict[int, Axis]]


class Groups:
    """Groups of units, which are split and joined as a graph is followed."""

    def __init__(self) -> None:
        self._next = 0
        self._parts: dict[int, Axis] = {}  # what has become of a group

    def new(self, size: int) -> Axis:
        """Return an axis of units that nothing is known of yet."""
        self._next += 1
        return (Segment(self._next, size),)

    @staticmethod
    def fixed(entries: int) -> Axis:
        """Return an axis of units that stay."""
        return (Segment(FIXED, entries),)

    def resolved(self, axis: Axis) -> Axis:
        """Return what an axis is by now."""
        result: list[Segment] = []
        for segment in axis:
            if segment.group in self._parts:
                inner = self.resolved(self._parts[segment.group])
                result += [part._replace(repeat=part.repeat * segment.repeat) for part in inner]
            else:
                result.append(segment)
        return tuple(
            Segment(FIXED, segment.entries) if segment.group == FIXED else segment for segment in result if segment.size
        )

    def freeze(self, axis: Axis) -> None:
        """Let the units of an axis stay."""
        for segment in self.resolved(axis):
            if segment.group != FIXED:
                self._parts[segment.group] = self.fixed(segment.size)

    def unify(self, one: Axis, other: Axis) -> None:
        """Let two axes of equal length have the same units."""
        while (differing := self._first_difference(self.resolved(one), self.resolved(other))) is not None:
            a, b = differing
            if FIXED in (a.group, b.group) or a.repeat != b.repeat:
                self.freeze((a, b))
            elif a.size == b.size:
                self._parts[b.group] = (Segment(a.group, a.size),)
            else:
                small, large = sorted((a, b), key=lambda segment: segment.size)
                self._parts[large.group] = self.new(small.size) + self.new(large.size - small.size)

    @staticmethod
    def _first_difference(one: Axis, other: Axis) -> tuple[Segment, Segment] | None:
        left, right = list(one), list(other)
        while left and right:
            a, b = left.pop(0), right.pop(0)
            if a == b:
                continue
            if a.group == b.group == FIXED:
                shared = min(a.size, b.size)
                left[:0] = [Segment(FIXED, a.size - shared)] if a.size > shared else []
                right[:0] = [Segment(FIXED, b.size - shared)] if b.size > shared else []
                continue
            return a, b
        return None


def index_of(axis: Axis, permutations: dict[int, torch.Tensor]) -> torch.Tensor:
    """Return the places along an axis from which permuted entries come.

    Args:
        axis: Its segments.
        permutations: For each group, ``(size,)`` integers: new unit i is the old unit ``permutation[i]``.
    """
    parts, start = [], 0
    for group, size, repeat in axis:
        units = permutations[group] if group in permutations else torch.arange(size)
        parts.append((start + units[:, None] * repeat + torch.arange(repeat)).flatten())
        start += size * repeat
    return torch.cat(parts)


def permuted(
    state: dict[str, torch.Tensor], where: PermutableAxes, permutations: dict[int, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state dict with permuted units: of the same function, in another place of weight space.

    Args:
        state: Weights and buffers.
        where: Which of their axes belong to which group.
        permutations: See :func:`index_of`; a group that is left out stays.
    """
    result = {}
    for key, value in state.items():
        for axis, segments in where.axes.get(key, {}).items():
            value = value.index_select(axis, index_of(segments, permutations).to(value.device))
        result[key] = value
    return result
