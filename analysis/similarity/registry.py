"""Measures by name, with their options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch

from analysis.arrays import Array, features
from analysis.similarity.cca import PWCCA, SVCCA, MeanCCA, mean_cca, pwcca, svcca
from analysis.similarity.cka import RBFCKA, LinearCKA, linear_cka, rbf_cka
from analysis.similarity.measure import PairMeasure, Tensors
from analysis.similarity.neighbours import MutualKNN, mutual_knn
from analysis.similarity.procrustes import Procrustes, procrustes
from analysis.similarity.regression import RegressionR2, regression_r2
from analysis.similarity.rsa import RSA, rsa
from nnray.errors import AnalysisError, did_you_mean

_OF_FUNCTION: dict[Callable[..., float], Callable[..., PairMeasure]] = {
    linear_cka: LinearCKA,
    rbf_cka: RBFCKA,
    mean_cca: MeanCCA,
    svcca: SVCCA,
    pwcca: PWCCA,
    procrustes: Procrustes,
    rsa: RSA,
    mutual_knn: MutualKNN,
    regression_r2: RegressionR2,
}

MEASURES: dict[str, Callable[..., PairMeasure]] = {
    function.__name__: measure for function, measure in _OF_FUNCTION.items()
}
"""What makes a measure of its options, by the name of the function that does it for two arrays."""


@dataclasses.dataclass(frozen=True)
class Own(PairMeasure):
    """A person's function of two sets of activations, which it gets as they are: ``samples x ...`` tensors."""

    function: Callable[[torch.Tensor, torch.Tensor], Any]

    symmetric = False

    @property
    def title(self) -> str:  # type: ignore[override]
        """How errors call it."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def name(self) -> str:
        """What folders are called after it."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.title).strip("_") or "compare"

    def kept(self, x: Array) -> Tensors:
        """Return the activations."""
        features(x)  # which refuses what is not finite
        return {"x": torch.as_tensor(x).detach()}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return the activations."""
        return {"x": kept["x"]}

    def between(self, a: Tensors, b: Tensors) -> float:
        """Return what the function returns."""
        try:
            return float(self.function(a["x"], b["x"]))
        except Exception as error:  # a person's own: one pair's failure is not the end of the others
            raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def measure_of(measure: str | Callable[..., Any] | PairMeasure, **options: Any) -> PairMeasure:
    """Return a measure by its name, by its function, or as a function of one's own.

    Args:
        measure: A name in :data:`MEASURES`, one of the functions of :mod:`analysis.similarity`, or any function of two
            sets of activations (``samples x ...`` tensors) that returns a number.
        options: Of the measure, as its function takes them.

    Raises:
        AnalysisError: If there is no such measure or option, or an option cannot be meant.
    """
    if isinstance(measure, PairMeasure):
        return measure
    if isinstance(measure, str):
        if measure not in MEASURES:
            raise AnalysisError(f"there is no measure {measure!r}{did_you_mean(measure, MEASURES)}")
        make = MEASURES[measure]
    elif measure in _OF_FUNCTION:
        make = _OF_FUNCTION[measure]
    elif callable(measure):
        if options:
            raise AnalysisError(f"{next(iter(options))}: bind options of a function of your own by functools.partial")
        return Own(measure)
    else:
        raise AnalysisError(f"a measure's name or a function of two arrays is expected, not {measure!r}")
    known = [field.name for field in dataclasses.fields(make)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            called = measure if isinstance(measure, str) else measure.__name__
            raise AnalysisError(f"{called} has no option {option!r}{did_you_mean(option, known)}")
    try:
        return make(**options)
    except (ValueError, TypeError) as error:
        raise AnalysisError(" ".join(str(error).split())) from error
