"""How far apart two sets of activations are after the best rotation.

Sources: Schönemann 1966 (the rotation); Ding et al. 2021, arXiv:2108.01661, section 2 (the distance between
representations); Williams et al. 2021, arXiv:2110.14739, equation 3 (the angle, a metric on shapes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from analysis.arrays import Array, centred
from analysis.similarity.measure import PairMeasure, Tensors

Kind = Literal["angular", "euclidean", "squared"]


@dataclass(frozen=True)
class Procrustes(PairMeasure):
    """See :func:`procrustes`."""

    kind: Kind = "angular"

    title = "Procrustes"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}, where one of {', '.join(get_args(Kind))} is expected")

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``x``, centred and of norm 1."""
        matrix = centred(kept["x"])
        norm = torch.linalg.matrix_norm(matrix)
        if norm == 0:
            raise ValueError(f"{name} is constant: its shape is not defined")
        return {"x": matrix / norm}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the distance."""
        return self.of_alignment(torch.linalg.matrix_norm(a["x"].T @ b["x"], ord="nuc"))

    def of_alignment(self, alignment: torch.Tensor) -> float:
        """Return the distance for the nuclear norm of ``X^T Y``."""
        alignment = alignment.clamp(max=1.0)
        if self.kind == "angular":
            return float(torch.arccos(alignment))
        squared = 2 - 2 * alignment
        return float(squared if self.kind == "squared" else squared.sqrt())


def procrustes(x: Array, y: Array, kind: Kind = "angular") -> float:
    """Return the Procrustes distance of two sets of activations: 0 for equal up to rotation, shift and scale.

    With both sets centred and scaled to a Frobenius norm of 1, and c the nuclear norm of ``X^T Y`` (the largest inner
    product that a rotation or reflection can bring about), the kinds are

    - ``angular``: ``arccos(c)``, in radians from 0 to pi/2; obeys the triangle inequality,
    - ``euclidean``: ``sqrt(2 - 2 c)``, the distance left by the best rotation; obeys it as well,
    - ``squared``: ``2 - 2 c``, from 0 to 2, as in Ding et al.

    Sets of different widths are compared as if the narrower one had features that are zero.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        kind: One of the above.

    Returns:
        The distance, computed in float64 at a cost that grows linearly with the width of wide layers.

    Raises:
        ValueError: If the numbers of samples differ or are too small, a value is not finite, a set of activations is
            constant, or there is no such kind.
    """
    return Procrustes(kind)(x, y)
