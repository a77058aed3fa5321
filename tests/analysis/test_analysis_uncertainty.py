"""Intervals over stimuli."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from analysis.similarity import MEASURES, linear_cka, mutual_knn, procrustes, regression_r2, rsa
from analysis.uncertainty import Resampling, bootstrap, jackknife, split_halves
from nnray.errors import AnalysisError

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(60, 6))
Y = X[:, :4] + 0.5 * RANDOM.normal(size=(60, 4))


def test_the_interval_of_a_mean_is_scipys():
    values = RANDOM.normal(size=400)
    found = bootstrap(lambda sample: sample.mean(), values, resamples=2000)
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=2000).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("interval", [bootstrap, split_halves], ids=lambda interval: interval.__name__)
def test_intervals_are_the_same_again_and_narrow_with_their_level(name, interval):
    wide, again, narrow = (interval(name, X, Y, resamples=30, level=level) for level in (0.9, 0.9, 0.2))
    assert wide == again
    assert wide.low < narrow.low <= narrow.high < wide.high
    assert interval(name, X, Y, resamples=30, level=0.9, seed=1) != wide


def test_copies_of_a_sample_are_neither_pairs_nor_neighbours():
    """The bootstrap of unrelated activations stays near what they have in common by chance."""
    unrelated = RANDOM.normal(size=(60, 6))
    assert bootstrap(rsa, X, unrelated, resamples=30).high < 0.15
    assert bootstrap(mutual_knn, X, unrelated, resamples=30, k=5).high < 3 * 5 / 59
    assert bootstrap(regression_r2, X, unrelated, resamples=30, folds=5).high < 0.05


def test_a_choice_of_samples_is_the_measure_of_these():
    index = Resampling("split-half").index(0, 60)
    assert len(index) == 30
    for name, make in MEASURES.items():
        measure = make(**({"k": 4} if name == "mutual_knn" else {}))
        chosen = [measure.summary(measure.chosen(measure.kept(values), index)) for values in (X, Y)]
        assert measure.between(*chosen) == pytest.approx(measure(X[index], Y[index]), rel=1e-9), name


def test_functions_options_and_tensors():
    by_name = bootstrap("procrustes", X, Y, resamples=9, kind="squared")
    assert bootstrap(procrustes, torch.tensor(X), torch.tensor(Y), resamples=9, kind="squared") == by_name
    assert by_name.value == procrustes(X, Y, kind="squared")
    labels = np.arange(60) % 3
    mean = split_halves(lambda x, classes: float(x[classes == 0].mean()), X, labels, resamples=9)
    assert mean.low < mean.value < mean.high
    own = bootstrap(lambda x, y: linear_cka(x, y), X, Y, resamples=9)
    assert own == pytest.approx(bootstrap("linear_cka", X, Y, resamples=9), rel=1e-12)


def test_the_jackknife_of_a_mean_is_students_interval():
    values = RANDOM.normal(size=7)
    low, high = stats.t.interval(0.9, 6, values.mean(), stats.sem(values))
    without = [np.delete(values, place).mean() for place in range(7)]
    assert jackknife(without, 0.9) == pytest.approx((high - low) / 2)
    assert np.isnan(jackknife([1.0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bootstrap("rsa", X), ValueError, "RSA compares two arrays, not 1"),
        (lambda: bootstrap("rsa", X, Y[:9]), ValueError, "the arrays have 9, 60"),
        (lambda: bootstrap("rsa", X, Y, resamples=1), AnalysisError, "resamples is 1"),
        (lambda: bootstrap("rsa", X, Y, level=95), AnalysisError, "level is 95"),
        (lambda: bootstrap(lambda x: 1, X, kind=2), AnalysisError, "bind options"),
        (lambda: Resampling("halves"), AnalysisError, "'halves' is none of bootstrap, split-half"),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
