"""Measures over minibatches: ``update(x, y)`` for each, then ``compute()``.

    stream = streaming("svcca", variance=0.99)
    for images in batches:
        stream.update(first(images), second(images))
    print(stream.compute())

What is kept differs. Linear measures follow exactly from sums of products, whatever the number of samples, in memory
that grows with the squared numbers of features. CKA over minibatches keeps three numbers, and estimates. What looks at
all pairs of samples (RSA, nearest neighbours, Gaussian kernels over all samples) must keep the activations.

Source of :class:`MinibatchCKA`: Nguyen et al. 2021, arXiv:2010.15327, equations 2 and 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from analysis.arrays import Array, features, same_samples
from analysis.similarity.cca import PWCCA, MeanCCA, check_directions
from analysis.similarity.cka import RBFCKA, LinearCKA
from analysis.similarity.measure import PairMeasure
from analysis.similarity.moments import PairMoments, directions
from analysis.similarity.procrustes import Procrustes
from analysis.similarity.registry import measure_of
from analysis.similarity.regression import RegressionR2, check_not_anything
from nnray.errors import AnalysisError


class Stream(ABC):
    """A measure of two sets of activations that come in minibatches."""

    @abstractmethod
    def update(self, x: Array, y: Array) -> None:
        """Add a minibatch: ``samples x ...`` of both, on one device.

        Raises:
            ValueError: If the numbers of samples or features don't fit, or a value is not finite.
        """

    @abstractmethod
    def compute(self) -> float:
        """Return the measure of all samples so far.

        Raises:
            ValueError: As the measure does for all samples at once.
        """


def streaming(measure: str, **options: Any) -> Stream:
    """Return a stream whose value is that of the measure for all samples at once, to the rounding of float64.

    Args:
        measure: A name in :data:`analysis.similarity.registry.MEASURES`.
        options: Of the measure.

    Raises:
        AnalysisError: If there is no such measure or option.
    """
    found = measure_of(measure, **options)
    if isinstance(found, MeanCCA):
        return _CCA(found)
    if isinstance(found, Procrustes):
        return _Procrustes(found)
    if isinstance(found, RegressionR2) and found.folds is None:
        return _Regression(found)
    if isinstance(found, LinearCKA) and not isinstance(found, RBFCKA):
        return _CKA(found)
    return _Kept(found)


class MinibatchCKA(Stream):
    """CKA whose HSIC is that of each minibatch, summed over minibatches: in memory for one minibatch.

    Unbiased, it is near the value of all samples at once if these come in random order (0.004 off at minibatches of 128
    where it was measured); biased, it is not (0.07 off there).

    Args:
        kernel: ``linear``, or ``rbf`` as in :func:`analysis.similarity.rbf_cka` with the median of each minibatch.
        bandwidth: Of the Gaussian.
        unbiased: Whether HSIC is estimated without bias; takes four samples a minibatch.
    """

    def __init__(self, kernel: str = "linear", bandwidth: float = 1.0, unbiased: bool = True) -> None:
        if kernel not in ("linear", "rbf"):
            raise AnalysisError(f"kernel: there is no {kernel!r}; there is: linear, rbf")
        self._measure = LinearCKA(unbiased) if kernel == "linear" else RBFCKA(unbiased, bandwidth)
        self._cross = self._own = self._other = 0.0

    def update(self, x: Array, y: Array) -> None:
        """Add a minibatch."""
        first, second = features(x), features(y)
        same_samples(first, second, self._measure.fewest, self._measure.title)
        n = len(first)
        # HSIC's divisors differ between minibatches of different sizes.
        weight = 1 / (n * (n - 3)) if self._measure.unbiased else 1 / (n - 1) ** 2
        k, l = (self._measure.gram(matrix) for matrix in (first, second))  # noqa: E741 - the letters of the formula
        self._cross += weight * float((k * l).sum())
        self._own += weight * float((k * k).sum())
        self._other += weight * float((l * l).sum())

    def compute(self) -> float:
        """Return CKA; NaN if a set of activations is constant."""
        product = self._own * self._other
        return self._cross / product**0.5 if product > 0 else float("nan")


class _OfMoments(Stream):
    """What follows from sums of products."""

    def __init__(self, measure: PairMeasure) -> None:
        self._checks = measure
        self._moments = PairMoments()

    def update(self, x: Array, y: Array) -> None:
        self._moments.update(x, y)

    def compute(self) -> float:
        if self._moments.n < self._checks.fewest:
            raise ValueError(
                f"{self._moments.n} samples are too few for {self._checks.title}: it needs {self._checks.fewest}"
            )
        return self._of(*self._moments.products())

    @abstractmethod
    def _of(self, xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> float: ...


class _CKA(_OfMoments):
    def __init__(self, measure: LinearCKA) -> None:
        super().__init__(measure)
        self._unbiased = measure.unbiased

    def _of(self, xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> float:
        if self._unbiased:
            cross, own, other = self._moments.unbiased_hsics()
        else:
            cross, own, other = (product.square().sum() for product in (xy, xx, yy))
        return float(cross / (own * other).sqrt())


class _Procrustes(_OfMoments):
    def __init__(self, measure: Procrustes) -> None:
        super().__init__(measure)
        self._measure = measure

    def _of(self, xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> float:
        for name, product in (("x", xx), ("y", yy)):
            if product.trace() <= 0:
                raise ValueError(f"{name} is constant: its shape is not defined")
        return self._measure.of_alignment(torch.linalg.matrix_norm(xy, ord="nuc") / (xx.trace() * yy.trace()).sqrt())


class _CCA(_OfMoments):
    def __init__(self, measure: MeanCCA) -> None:
        super().__init__(measure)
        self._measure = measure

    def _of(self, xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> float:
        (v, s), (w, t) = (directions(product, self._measure.variance_kept) for product in (xx, yy))
        for name, values in (("x", s), ("y", t)):
            check_directions(len(values), self._moments.n, name, self._measure.title)
        u, correlations, _ = torch.linalg.svd((v.T @ xy @ w) / s[:, None] / t, full_matrices=False)
        correlations = correlations.clamp(max=1.0)
        if not isinstance(self._measure, PWCCA):
            return float(correlations.mean())
        weights = (u.T @ (s[:, None] * v.T)).abs().sum(dim=1)
        return float((weights * correlations).sum() / weights.sum())


class _Regression(_OfMoments):
    def __init__(self, measure: RegressionR2) -> None:
        super().__init__(measure)
        self._ridge = measure.ridge

    def _of(self, xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> float:
        if yy.trace() <= 0:
            raise ValueError("y is constant: there is no variance to explain")
        v, s = directions(xx)
        if not self._ridge:
            check_not_anything(len(s), self._moments.n)
        kept = s.square() / (s.square() + self._ridge)
        explained = (1 - (1 - kept).square()) * (v.T @ xy / s[:, None]).square().sum(dim=1)
        return float(explained.sum() / yy.trace())


class _Kept(Stream):
    """What needs all samples at once."""

    def __init__(self, measure: PairMeasure) -> None:
        self._measure = measure
        self._parts: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, x: Array, y: Array) -> None:
        first, second = features(x), features(y)
        same_samples(first, second, 1, self._measure.title)
        # As they came: float64 would take twice the memory, and adds nothing.
        self._parts.append((torch.as_tensor(x).detach().flatten(1), torch.as_tensor(y).detach().flatten(1)))

    def compute(self) -> float:
        if not self._parts:
            raise ValueError("there is no minibatch yet: update(x, y) adds one")
        return self._measure(*(torch.cat(side) for side in zip(*self._parts, strict=True)))
