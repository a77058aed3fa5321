"""The permutation of one network's units that brings its weights nearest to another's.

Source: Ainsworth et al. 2023, "Git Re-Basin: Merging Models modulo Permutation Symmetries", arXiv:2209.04836, section
3.2, algorithm 1 (weight matching).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment

from analysis.weights.permutable_axes import FIXED, PermutableAxes, index_of

_MOST_ROUNDS = 100


def weight_matching(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], where: PermutableAxes, seed: int = 0
) -> dict[int, torch.Tensor]:
    """Return permutations of ``other`` that make its inner product with ``one`` large.

    Groups are matched one at a time, each by a linear assignment with the others as they are, in random order, until
    none improves: a local optimum.

    Args:
        one: Parameters, by their names in the state dict (buffers are left out: they tell of data).
        other: The same of a network with the same architecture.
        where: Their axes.
        seed: Of the order of groups.

    Returns:
        For each group ``(size,)`` integers: new unit i is the old unit ``permutation[i]``.
    """
    found = {group: torch.arange(size) for group, size in where.sizes.items()}
    generator = torch.Generator().manual_seed(seed)
    groups = list(found)
    for _ in range(_MOST_ROUNDS):
        improved = False
        for place in torch.randperm(len(groups), generator=generator).tolist():
            group = groups[place]
            products = _products(one, other, where, found, group)
            _, columns = linear_sum_assignment(products.numpy(), maximize=True)
            better = torch.from_numpy(columns)
            units = torch.arange(len(better))
            if products[units, better].sum() > products[units, found[group]].sum() + 1e-12 * products.abs().sum():
                found[group], improved = better, True
        if not improved:
            break
    return found


def _products(
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    where: PermutableAxes,
    found: dict[int, torch.Tensor],
    group: int,
) -> torch.Tensor:
    """Return inner products of the weights of each unit of the one and each of the other, ``size x size``, float64."""
    size = where.sizes[group]
    products = torch.zeros(size, size, dtype=torch.float64)
    for key, axes in where.axes.items():
        if key not in one:
            continue
        for axis, segments in axes.items():
            start = 0
            for segment in segments:
                if segment.group == group and segment.group != FIXED:
                    a, b = (values[key].narrow(axis, start, segment.entries) for values in (one, other))
                    for across, units in axes.items():
                        if across != axis:
                            b = b.index_select(across, index_of(units, found))
                    a, b = (values.movedim(axis, 0).reshape(size, -1).double() for values in (a, b))
                    products += a @ b.T
                start += segment.entries
    return products
