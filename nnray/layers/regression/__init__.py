"""Layers that can be fit by least squares: linear maps and convolutions of several forms, with one interface."""

from nnray.layers.regression.full import RegressableConv2d, RegressableLinear
from nnray.layers.regression.identity import IdentityConv2d, IdentityLinear
from nnray.layers.regression.low_rank import LowRankConv2d, LowRankLinear
from nnray.layers.regression.masked import MaskedConv2d, MaskedLinear
from nnray.layers.regression.orthogonal import OrthogonalConv2d, OrthogonalLinear
from nnray.layers.regression.permutation import PermutationConv2d, PermutationLinear
from nnray.layers.regression.regressable import Regressable

__all__ = [
    "IdentityConv2d",
    "IdentityLinear",
    "LowRankConv2d",
    "LowRankLinear",
    "MaskedConv2d",
    "MaskedLinear",
    "OrthogonalConv2d",
    "OrthogonalLinear",
    "PermutationConv2d",
    "PermutationLinear",
    "Regressable",
    "RegressableConv2d",
    "RegressableLinear",
]
