"""Operations that `torch.nn` lacks, as modules that any architecture can use."""

from nnray.layers.pooling import GridMaxPool
from nnray.layers.scale import Scale
from nnray.layers.shortcut import PaddedShortcut

__all__ = ["GridMaxPool", "PaddedShortcut", "Scale"]
