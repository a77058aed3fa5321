"""The layers that join two networks: their forms, and their fit to the activations that they stand in for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from nnray.errors import AnalysisError
from nnray.layers import (
    Interpolate,
    LowRankConv2d,
    LowRankLinear,
    MaskedConv2d,
    MaskedLinear,
    OrthogonalConv2d,
    OrthogonalLinear,
    Regressable,
    RegressableConv2d,
    RegressableLinear,
)


def _sparse(image: bool, old: int, new: int, size: int) -> Regressable:
    chosen = torch.rand(new, old).topk(min(size, old), dim=1).indices
    mask = torch.zeros(new, old, dtype=torch.bool).scatter_(1, chosen, True)
    return MaskedConv2d(mask[..., None, None]) if image else MaskedLinear(mask)


KINDS: dict[str, Callable[[bool, int, int, int], Regressable]] = {
    "affine": lambda image, old, new, size: (RegressableConv2d if image else RegressableLinear)(old, new),
    "orthogonal": lambda image, old, new, size: (OrthogonalConv2d if image else OrthogonalLinear)(old, new),
    "low-rank": lambda image, old, new, size: (LowRankConv2d if image else LowRankLinear)(
        old, new, min(size, old, new)
    ),
    "sparse": _sparse,
}
"""Forms of the stitching layer, between images (as a 1x1 convolution) or features; ``size`` is the rank of a low-rank
layer, and how many inputs each output of a sparse one has."""


RANKED = ("low-rank", "sparse")
"""The kinds that have a size."""


def resizing(old: Sequence[int], new: Sequence[int]) -> nn.Module:
    """Return what brings activations of one shape to the places (not the channels) of another.

    Raises:
        AnalysisError: If their shapes have different numbers of axes, or of tokens.
    """
    if len(old) != len(new) or len(new) not in (2, 3, 4) or (len(new) == 3 and old[1] != new[1]):
        raise AnalysisError(f"no stitching layer leads from one of these shapes to the other: {_shown(old, new)}")
    return Interpolate((new[2], new[3])) if len(new) == 4 else nn.Identity()


def stitching_layer(kind: str, old: Sequence[int], new: Sequence[int], size: int | None = None) -> Regressable:
    """Return a layer of a kind with random values, from resized activations to others; ``size`` of :data:`RANKED`."""
    image = len(new) == 4
    channels = 1 if image else -1
    return KINDS[kind](image, old[channels], new[channels], size or 1)


def check_identity(old: Sequence[int], new: Sequence[int]) -> None:
    """Raise AnalysisError if activations cannot be passed on as they are but for their size."""
    resizing(old, new)
    channels = 1 if len(new) == 4 else -1
    if old[channels] != new[channels]:
        raise AnalysisError(f"the identity leads to no other number of channels: {_shown(old, new)}")


@torch.no_grad()
def fit_layer(layer: Regressable, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], ridge: float) -> None:
    """Fit by least squares.

    A sparse layer is fit as if it were full. Then each output keeps those inputs that contribute most to it (by the
    size of the weight times the standard deviation of the input), and these are fit again.

    Args:
        layer: What is fit.
        batches: Resized activations, and those that they should become.
        ridge: Weight of the penalty on the squares of weights.
    """
    sums = torch.zeros(3, 1, dtype=torch.float64)
    for source, target in batches:
        layer.accumulate(source, target)
        if isinstance(layer, MaskedConv2d | MaskedLinear):
            rows = (source.movedim(1, -1) if source.ndim == 4 else source).flatten(0, -2).double().cpu()
            sums = sums + torch.stack([torch.ones_like(rows), rows, rows.square()], dim=0).sum(dim=1)
    if isinstance(layer, MaskedConv2d | MaskedLinear):
        count, total, squares = sums
        deviation = (squares / count - (total / count).square()).clamp(min=0).sqrt()
        size = int(layer.mask.flatten(1)[0].sum())
        layer.mask.fill_(True)
        layer.solve(ridge=ridge)
        chosen = (layer.matrix().abs() * deviation.to(layer.weight)).topk(size, dim=1).indices
        layer.mask.zero_().view(len(layer.mask), -1).scatter_(1, chosen, True)
    layer.solve(ridge=ridge)


def _shown(*shapes: Sequence[int]) -> str:
    return " and ".join("x".join(map(str, shape[1:])) for shape in shapes)
