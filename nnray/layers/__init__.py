"""Operations that `torch.nn` lacks, as modules that any architecture can use."""

from nnray.layers.combination import Add, Concatenate
from nnray.layers.interpolation import Interpolate
from nnray.layers.pooling import GridMaxPool
from nnray.layers.regression import (
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
from nnray.layers.scale import Scale
from nnray.layers.shortcut import PaddedShortcut
from nnray.layers.tokens import ImageToTokens, TokensToImage

__all__ = [
    "Add",
    "Concatenate",
    "GridMaxPool",
    "IdentityConv2d",
    "IdentityLinear",
    "ImageToTokens",
    "Interpolate",
    "LowRankConv2d",
    "LowRankLinear",
    "MaskedConv2d",
    "MaskedLinear",
    "OrthogonalConv2d",
    "OrthogonalLinear",
    "PaddedShortcut",
    "PermutationConv2d",
    "PermutationLinear",
    "Regressable",
    "RegressableConv2d",
    "RegressableLinear",
    "Scale",
    "TokensToImage",
]
