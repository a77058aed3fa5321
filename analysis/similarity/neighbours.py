"""Do two sets of activations agree on who is near whom?

Source: Huh et al. 2024, "The Platonic Representation Hypothesis", arXiv:2405.07987, section 2.1 and appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from analysis.arrays import Array, features, in_sample_space
from analysis.similarity.measure import SAMPLE, PairMeasure, Tensors

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class MutualKNN(PairMeasure):
    """See :func:`mutual_knn`. Where samples are there more than once, copies of a sample are not its neighbours."""

    k: int = 10
    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        if self.metric not in get_args(Metric):
            raise ValueError(f"metric is {self.metric!r}, where one of {', '.join(get_args(Metric))} is expected")
        if self.k < 1:
            raise ValueError(f"k is {self.k}, where a positive number of neighbours is expected")

    @property
    def title(self) -> str:  # type: ignore[override]
        """How errors call it."""
        return f"{self.k} nearest neighbours"

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return self.k + 1

    def kept(self, x: Array) -> Tensors:
        """Return what keeps all inner products: directions are seen from zero, so nothing is centred."""
        return {"x": in_sample_space(features(x))}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return ``near``, the places of each sample's neighbours (``n x k``)."""
        points = kept["x"].cpu().numpy()
        samples = kept[SAMPLE].cpu().numpy() if SAMPLE in kept else np.arange(len(points))
        copies = int(np.unique(samples, return_counts=True)[1].max()) - 1
        if len(np.unique(samples)) <= self.k:
            raise ValueError(f"{len(np.unique(samples))} samples are too few for {self.title}: it needs {self.fewest}")
        search = NearestNeighbors(n_neighbors=self.k + copies, metric=self.metric, algorithm="brute").fit(points)
        near = search.kneighbors(return_distance=False)
        if copies:
            others = samples[near] != samples[:, None]
            order = np.argsort(~others, axis=1, kind="stable")[:, : self.k]  # others first, the nearest before
            near = np.take_along_axis(near, order, axis=1)
        return {"near": torch.from_numpy(np.ascontiguousarray(near))}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the mean share of neighbours that are both."""
        shared = (a["near"][:, :, None] == b["near"][:, None, :]).sum()
        return float(shared) / a["near"].numel()


def mutual_knn(x: Array, y: Array, k: int = 10, metric: Metric = "cosine") -> float:
    """Return which share of its k nearest neighbours a sample keeps from one set of activations to the other.

    ``mean_i |N_k(x_i) & N_k(y_i)| / k``, with a sample not its own neighbour.

    Args:
        x: First activations, ``samples x ...``; further axes are flattened.
        y: Second activations of the same samples.
        k: How many neighbours, fewer than there are samples.
        metric: What near means.

    Returns:
        From 0 to 1; about ``k / (n - 1)`` for unrelated activations.

    Raises:
        ValueError: If the numbers of samples differ or are no more than ``k``, a value is not finite, or there is no
            such metric.
    """
    return MutualKNN(k, metric)(x, y)
