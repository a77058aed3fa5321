"""How sure is a figure? Intervals over the stimuli that networks were shown.

Sources: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile intervals); Nili et al.
2014, "A Toolbox for Representational Similarity Analysis" (the bootstrap over stimuli, where pairs of copies of one
stimulus do not count).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from analysis.arrays import Array
from analysis.similarity.measure import PairMeasure
from analysis.similarity.registry import Own, measure_of
from nnray.errors import AnalysisError

Way = Literal["bootstrap", "split-half"]


class Estimate(NamedTuple):
    """A figure and an interval.

    Attributes:
        value: The figure of all samples.
        low: The interval's lower end.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampling:
    """Choices of samples, the same for all sets of activations and on every machine.

    Attributes:
        way: ``bootstrap`` draws as many samples as there are, with replacement: the interval tells how a figure would
            vary with other stimuli. ``split-half`` draws halves without replacement: it tells how figures of half as
            many samples vary, and no sample is there more than once.
        count: How many choices.
        level: The share of the choices' figures that the interval holds.
        seed: Of the choices.
    """

    way: Way = "bootstrap"
    count: int = 200
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.way not in get_args(Way):
            raise AnalysisError(f"interval: {self.way!r} is none of {', '.join(get_args(Way))}")
        if self.count < 2:
            raise AnalysisError(f"resamples is {self.count}, and an interval takes two or more")
        if not 0 < self.level < 1:
            raise AnalysisError(f"level is {self.level}, where a fraction between 0 and 1 is expected")

    def index(self, number: int, samples: int) -> torch.Tensor:
        """Return the places of one choice's samples: ``(samples,)`` integers, or half as many for halves."""
        random = np.random.default_rng([self.seed, number])
        if self.way == "bootstrap":
            return torch.from_numpy(random.integers(0, samples, samples))
        half = random.permutation(samples)[: samples // 2]
        return torch.from_numpy(np.sort(half))

    def ends(self, figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both ends of the interval over the first axis; NaN where a figure is."""
        tail = 50 * (1 - self.level)
        low, high = np.percentile(figures, [tail, 100 - tail], axis=0)
        return low, high


def bootstrap(
    measure: str | Callable[..., Any] | PairMeasure,
    *arrays: Array,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **options: Any,
) -> Estimate:
    """Return a figure with its percentile interval over stimuli, drawn with replacement.

    A choice holds copies of samples, which some figures take for structure: for ``rsa`` and ``mutual_knn`` copies of
    one sample do not count as a pair or as neighbours, and folds of ``regression_r2`` keep them together. Others (CCA,
    unbiased CKA, regression without folds) come out too high, and figures of one's own may; :func:`split_halves` has no
    copies.

    Args:
        measure: A measure by its name or function, with ``options``; or any function of the arrays that gives a number.
        arrays: Activations, labels, ...: tensors or arrays with a row per sample.
        resamples: How many choices are drawn.
        level: The share of their figures within the interval.
        seed: Of the draws.
        options: Of the measure.

    Raises:
        AnalysisError: If an argument cannot be meant.
        ValueError: If the numbers of samples differ, or the measure is not defined.
    """
    return _estimate(measure, arrays, Resampling("bootstrap", resamples, level, seed), options)


def split_halves(
    measure: str | Callable[..., Any] | PairMeasure,
    *arrays: Array,
    resamples: int = 100,
    level: float = 0.95,
    seed: int = 0,
    **options: Any,
) -> Estimate:
    """Return a figure with the interval that holds its values of random halves of the stimuli.

    A half has fewer samples, so that its figures vary more than those of all samples do, and figures which depend on
    the number of samples (CCA, biased CKA, regression) lie elsewhere. See :func:`bootstrap` for the arguments.
    """
    return _estimate(measure, arrays, Resampling("split-half", resamples, level, seed), options)


def _estimate(
    measure: str | Callable[..., Any] | PairMeasure, arrays: Sequence[Array], how: Resampling, options: dict[str, Any]
) -> Estimate:
    sizes = {len(values) for values in arrays}
    if len(sizes) != 1:
        raise ValueError(f"the same samples are expected, and the arrays have {', '.join(map(str, sorted(sizes)))}")
    (samples,) = sizes
    pair = measure_of(measure, **options)
    if isinstance(pair, Own):
        function: Callable[..., Any] = pair.function
        value = float(function(*arrays))
        drawn = []
        for number in range(how.count):
            index = how.index(number, samples)
            drawn.append(float(function(*(_rows(values, index) for values in arrays))))
    else:
        if len(arrays) != 2:
            raise ValueError(f"{pair.title} compares two arrays, not {len(arrays)}")
        value = pair(*arrays)
        both = [pair.kept(values) for values in arrays]
        drawn = []
        for number in range(how.count):
            index = how.index(number, samples)
            drawn.append(pair.between(*(pair.summary(pair.chosen(kept, index)) for kept in both)))
    low, high = how.ends(np.asarray(drawn))
    return Estimate(value, float(low), float(high))


def _rows(values: Array, index: torch.Tensor) -> Array:
    return values[index.to(values.device)] if isinstance(values, torch.Tensor) else values[index.numpy()]


def jackknife(mean_without: Sequence[float], level: float = 0.95) -> float:
    """Return half the width of the interval of a mean over units, by leaving out one after the other.

    For plain means it is Student's interval. For means over pairs of units (networks that differ in their seeds), which
    are not independent of each other, it counts each unit once.

    Args:
        mean_without: The mean without each of the units; at least two.
        level: Of the interval.
    """
    from scipy.stats import t

    values = np.asarray(mean_without, dtype=np.float64)
    n = len(values)
    if n < 2:
        return math.nan
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    return error * float(t.ppf(0.5 + level / 2, n - 1))
