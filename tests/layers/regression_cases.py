"""All forms and geometries of layers that can be fit, and what the tests do with any of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch

from nnray.layers import (
    IdentityConv2d,
    IdentityLinear,
    LowRankConv2d,
    LowRankLinear,
    MaskedConv2d,
    MaskedLinear,
    OrthogonalConv2d,
    OrthogonalLinear,
    PermutationConv2d,
    PermutationLinear,
    Regressable,
    RegressableConv2d,
    RegressableLinear,
)


class Case(NamedTuple):
    make: Callable[[], Regressable]
    shape: tuple[int, ...]  # of one input


def mask(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5


CASES = {
    "linear": Case(lambda: RegressableLinear(6, 4), (6,)),
    "linear without bias": Case(lambda: RegressableLinear(4, 6, bias=False), (4,)),
    "linear on tokens": Case(lambda: RegressableLinear(6, 4), (5, 6)),
    "convolution 1x1": Case(lambda: RegressableConv2d(3, 5), (3, 4, 4)),
    "convolution 1x1 stride 2 padding 1": Case(lambda: RegressableConv2d(3, 5, 1, (2, 1), (0, 1)), (3, 5, 4)),
    "convolution 3x3": Case(lambda: RegressableConv2d(2, 3, 3, stride=2, padding=1), (2, 7, 6)),
    "convolution 3x2 without bias": Case(lambda: RegressableConv2d(2, 3, (3, 2), bias=False), (2, 5, 5)),
    "low rank": Case(lambda: LowRankLinear(6, 5, rank=2), (6,)),
    "low rank without bias": Case(lambda: LowRankLinear(6, 5, rank=2, bias=False), (6,)),
    "low rank convolution": Case(lambda: LowRankConv2d(2, 4, 2, 3, stride=(1, 2), padding=1), (2, 5, 5)),
    "orthogonal": Case(lambda: OrthogonalLinear(5, 5), (5,)),
    "orthogonal without bias": Case(lambda: OrthogonalLinear(5, 5, bias=False), (5,)),
    "orthogonal to more": Case(lambda: OrthogonalLinear(4, 6), (4,)),
    "orthogonal to fewer": Case(lambda: OrthogonalLinear(6, 3), (6,)),
    "scaled orthogonal": Case(lambda: OrthogonalLinear(5, 5, scaled=True), (5,)),
    "scaled orthogonal to fewer": Case(lambda: OrthogonalLinear(6, 3, scaled=True), (6,)),
    "orthogonal convolution": Case(lambda: OrthogonalConv2d(3, 5, scaled=True), (3, 4, 4)),
    "permutation": Case(lambda: PermutationLinear(5, 5), (5,)),
    "permutation of tokens without bias": Case(lambda: PermutationLinear(5, 5, bias=False), (3, 5)),
    "selection": Case(lambda: PermutationLinear(7, 4), (7,)),
    "permutation of channels": Case(lambda: PermutationConv2d(4, 4), (4, 3, 3)),
    "masked": Case(lambda: MaskedLinear(mask(5, 6)), (6,)),
    "masked without bias": Case(lambda: MaskedLinear(mask(5, 6), bias=False), (6,)),
    "masked convolution": Case(lambda: MaskedConv2d(mask(3, 2, 3, 3), padding=1), (2, 5, 5)),
    "identity": Case(lambda: IdentityLinear(4), (4,)),
    "identity and shift": Case(lambda: IdentityLinear(4, bias=True), (2, 4)),
    "identity of images": Case(lambda: IdentityConv2d(3), (3, 4, 4)),
    "identity of images and shift": Case(lambda: IdentityConv2d(3, bias=True), (3, 4, 4)),
}


def made(name: str, seed: int = 0) -> Regressable:
    torch.manual_seed(seed)
    return CASES[name].make()


def inputs(name: str, examples: int = 60, seed: int = 1) -> torch.Tensor:
    """Correlated and off centre, float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, *CASES[name].shape, generator=generator, dtype=torch.float64)
    return x + 0.5 * x.roll(1, 1) + 0.3


def targets(layer: Regressable, x: torch.Tensor, noise: float, seed: int = 2) -> torch.Tensor:
    """What another layer of the same form returns, plus noise."""
    with torch.no_grad():
        y = moved(layer.to(x.dtype), 0.5, seed)(x)
    generator = torch.Generator().manual_seed(seed)
    return y + noise * torch.randn(y.shape, generator=generator, dtype=x.dtype)


def moved(layer: Regressable, size: float, seed: int = 0) -> Regressable:
    """A layer of the same form somewhere near."""
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if isinstance(other, PermutationLinear | PermutationConv2d):
            swapped = torch.randperm(len(other.index), generator=generator)[:2]
            other.index[swapped] = other.index[swapped.flip(0)]
    return other


def loss(layer: Regressable, x: torch.Tensor, y: torch.Tensor, ridge: float = 0.0) -> float:
    with torch.no_grad():
        return ((layer(x) - y) ** 2).sum().item() + ridge * (layer.matrix() ** 2).sum().item()


def check_form(layer: Regressable) -> None:
    """Assert that the matrix is of the form that the class promises."""
    matrix = layer.matrix().detach().double()
    if isinstance(layer, LowRankLinear | LowRankConv2d):
        assert torch.linalg.matrix_rank(matrix, rtol=1e-5) <= layer.rank
    elif isinstance(layer, OrthogonalLinear | OrthogonalConv2d):
        gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        expected = torch.eye(len(gram)) * (1 if layer.scale is None else layer.scale.item() ** 2)
        torch.testing.assert_close(gram, expected.double(), rtol=0, atol=1e-5)
    elif isinstance(layer, PermutationLinear | PermutationConv2d):
        assert matrix.unique().tolist() in ([0, 1], [1])
        assert (matrix.sum(1) == 1).all()
        assert (matrix.sum(0) <= 1).all()
    elif isinstance(layer, MaskedLinear | MaskedConv2d):
        assert not matrix[~layer.mask.flatten(1)].any()
    elif isinstance(layer, IdentityLinear | IdentityConv2d):
        assert torch.equal(matrix, torch.eye(len(matrix)).double())
