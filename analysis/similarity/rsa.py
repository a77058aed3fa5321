"""Representational similarity analysis: are the same pairs of samples far apart in both sets of activations?

Source: Kriegeskorte et al. 2008, "Representational similarity analysis - connecting the branches of systems
neuroscience".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy import stats
from scipy.spatial.distance import pdist

from analysis.arrays import Array, features, in_sample_space
from analysis.similarity.measure import PairMeasure, Tensors

Dissimilarity = Literal["correlation", "cosine", "euclidean", "sqeuclidean", "cityblock"]
Comparison = Literal["spearman", "pearson", "kendall", "cosine"]


@dataclass(frozen=True)
class RSA(PairMeasure):
    """See :func:`rsa`. Where samples are there more than once, pairs of copies of one sample do not count."""

    dissimilarity: Dissimilarity = "correlation"
    comparison: Comparison = "spearman"

    title = "RSA"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("dissimilarity", self.dissimilarity, get_args(Dissimilarity)),
            ("comparison", self.comparison, get_args(Comparison)),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}, where one of {', '.join(choices)} is expected")

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return 3

    def kept(self, x: Array) -> Tensors:
        """Return the ``dissimilarities`` of all pairs of samples, as SciPy's ``pdist`` orders them."""
        matrix = features(x).cpu()
        if self.dissimilarity in ("euclidean", "sqeuclidean", "cosine"):
            matrix = in_sample_space(matrix)  # inner products are all that these need
        values = pdist(matrix.numpy(), self.dissimilarity)
        if np.isnan(values).any():
            raise ValueError(f"a sample's features are all equal, so that its {self.dissimilarity} is not defined")
        return {"dissimilarities": torch.from_numpy(values)}

    def chosen(self, kept: Tensors, index: torch.Tensor) -> Tensors:
        """Return the dissimilarities of some samples."""
        values = kept["dissimilarities"]
        n = (1 + math.isqrt(1 + 8 * len(values))) // 2
        rows, columns = torch.triu_indices(len(index), len(index), offset=1)
        pairs = torch.stack([index.cpu()[rows], index.cpu()[columns]])
        first, second = pairs[:, pairs[0] != pairs[1]].sort(dim=0).values
        return {"dissimilarities": values[n * first - first * (first + 1) // 2 + second - first - 1]}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``values``, a number per pair of samples; but for Kendall's, their inner product is the comparison."""
        values = kept["dissimilarities"].cpu().numpy()
        if self.comparison == "spearman":
            values = stats.rankdata(values)
        if self.comparison in ("spearman", "pearson"):
            values = values - values[0]  # equal ones become zero, and not the rounding of their mean
            values = values - values.mean()
        if self.comparison != "kendall":
            norm = np.linalg.norm(values)
            values = values / norm if norm else np.full_like(values, np.nan)
        return {"values": torch.from_numpy(values)}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return how alike the dissimilarities are."""
        if self.comparison == "kendall":
            return float(stats.kendalltau(a["values"].cpu().numpy(), b["values"].cpu().numpy()).statistic)
        return float(a["values"] @ b["values"])


def rsa(
    x: Array,
    y: Array,
    dissimilarity: Dissimilarity = "correlation",
    comparison: Comparison = "spearman",
) -> float:
    """Return how alike the dissimilarity matrices of two sets of activations are.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        dissimilarity: Of two samples: 1 - Pearson's correlation over features, 1 - cosine, or a distance; SciPy's
            ``pdist``.
        comparison: Of the n (n - 1) / 2 dissimilarities of the one and the other: Spearman's or Pearson's
            correlation, Kendall's tau-b, or the cosine.

    Returns:
        From -1 to 1, 1 for dissimilarities in the same order (``spearman``, ``kendall``), in the same proportions
        (``cosine``) or equal up to shift and scale (``pearson``); NaN if all dissimilarities of one set are equal.

    Raises:
        ValueError: If the numbers of samples differ or are too small, a value is not finite, a sample has no
            dissimilarity (all of its features are equal), or an option does not exist.
    """
    return RSA(dissimilarity, comparison)(x, y)
