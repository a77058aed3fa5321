"""Distances between the weights of two networks, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from analysis.arrays import Array, features
from analysis.similarity.measure import PairMeasure, Tensors

WeightKind = Literal["l2", "relative", "cosine"]

WHOLE = "*"
"""What all parameters of a network together are called in tables of layers."""


@dataclass(frozen=True)
class WeightDistance(PairMeasure):
    """A distance of two vectors of weights, or their cosine.

    - ``l2``: ``|a - b|``,
    - ``relative``: ``|a - b| / |a|``; not symmetric,
    - ``cosine``: ``<a, b> / (|a| |b|)``, which is no distance but 1 for equal directions. NaN where weights are zero.
    """

    kind: WeightKind = "l2"

    title = "the distance of weights"
    symmetric = False  # one of them is not

    def __post_init__(self) -> None:
        if self.kind not in get_args(WeightKind):
            raise ValueError(f"kind is {self.kind!r}, where one of {', '.join(get_args(WeightKind))} is expected")

    @property
    def name(self) -> str:
        """What folders are called after it."""
        return f"weights-{self.kind}"

    @property
    def fewest(self) -> int:
        """The fewest weights it can do with."""
        return 1

    def kept(self, x: Array) -> Tensors:
        """Return the weights as a vector."""
        return {"x": features(x).flatten()}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return the weights."""
        return kept

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the distance."""
        one, other = a["x"], b["x"]
        if one.shape != other.shape:
            raise ValueError(f"one network has {len(one)} weights there and another {len(other)}")
        if self.kind == "cosine":
            return float(one @ other / (one.norm() * other.norm()))
        distance = (one - other).norm()
        return float(distance / one.norm() if self.kind == "relative" else distance)


def weights_by_layer(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of each layer as one vector, and of the whole network as that called :data:`WHOLE`.

    Buffers, such as running statistics, are no parameters. Weights that two layers share count once, for the first.
    """
    parts: dict[str, list[torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".")[0] or name
        parts.setdefault(layer, []).append(parameter.detach().flatten())
        parts.setdefault(WHOLE, []).append(parameter.detach().flatten())
    whole = parts.pop(WHOLE, [])
    return {layer: torch.cat(values) for layer, values in parts.items()} | ({WHOLE: torch.cat(whole)} if whole else {})
