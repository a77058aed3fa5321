"""Measures over minibatches are those of all samples at once, however the samples are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import similarity
from analysis.geometry import SpectrumStream, participation_ratio, pca_spectrum
from analysis.similarity import MinibatchCKA, linear_cka, rbf_cka, streaming
from nnray.errors import AnalysisError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 7)) * np.linspace(0.2, 3, 7) + 30  # means far from zero
Y = np.tanh((X - 30) @ RANDOM.normal(size=(7, 5)) / 4) + 0.3 * RANDOM.normal(size=(80, 5))

OPTIONS = {
    "linear_cka": [{}, {"unbiased": True}],
    "rbf_cka": [{"bandwidth": 0.5}],
    "mean_cca": [{}],
    "svcca": [{"variance": 0.9}],
    "pwcca": [{}],
    "procrustes": [{}, {"kind": "squared"}],
    "rsa": [{}],
    "mutual_knn": [{"k": 3}],
    "regression_r2": [{}, {"ridge": 3.0}, {"folds": 3}],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]


def cut(n: int, borders: list[int]) -> list[slice]:
    places = sorted({0, n, *borders})
    return [slice(start, end) for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name} {options}" for name, options in CASES])
@settings(max_examples=5, deadline=None)
@given(borders=st.lists(st.integers(1, 79), max_size=6))
def test_streamed_is_one_shot(name, options, borders):
    stream = streaming(name, **options)
    for part in cut(len(X), borders):
        stream.update(X[part], torch.tensor(Y[part]).reshape(-1, 5, 1))
    assert stream.compute() == pytest.approx(getattr(similarity, name)(X, Y, **options), rel=1e-9)


def test_every_measure_is_tried():
    assert set(OPTIONS) == set(similarity.MEASURES)


def test_wide_layers_stream_exactly():
    """More features than samples, where the covariance is singular."""
    x, y = (RANDOM.normal(size=(6, width)) for width in (90, 40))
    x, y = RANDOM.normal(size=(30, 6)) @ x, RANDOM.normal(size=(30, 6)) @ y
    for name in ("mean_cca", "procrustes", "linear_cka", "pwcca", "regression_r2"):
        stream = streaming(name)
        for part in cut(30, [7, 19]):
            stream.update(x[part], y[part])
        assert stream.compute() == pytest.approx(getattr(similarity, name)(x, y), rel=1e-7)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_one_minibatch_is_cka(kernel, unbiased):
    stream = MinibatchCKA(kernel, unbiased=unbiased)
    stream.update(X, Y)
    assert stream.compute() == pytest.approx({"linear": linear_cka, "rbf": rbf_cka}[kernel](X, Y, unbiased=unbiased))


def test_minibatches_are_weighed_by_their_sizes():
    """Of minibatches that are copies, in two sizes, the value is that of the copied one."""
    stream = MinibatchCKA(unbiased=False)
    for _ in range(3):
        stream.update(X, Y)
    assert stream.compute() == pytest.approx(linear_cka(X, Y))


@settings(max_examples=10, deadline=None)
@given(borders=st.lists(st.integers(1, 79), max_size=6))
def test_spectrum(borders):
    for values in (X, RANDOM.normal(size=(9, 20))):
        stream = SpectrumStream()
        for part in cut(len(values), [border for border in borders if border < len(values)]):
            stream.update(values[part])
        np.testing.assert_allclose(stream.spectrum(), pca_spectrum(values), rtol=1e-7, atol=1e-12)
        assert stream.participation_ratio() == pytest.approx(participation_ratio(values), rel=1e-9)


def after(*batches):
    def call(name, **options):
        stream = streaming(name, **options)
        for batch in batches:
            stream.update(*batch)
        return stream.compute()

    return call


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: after()("mean_cca"), "0 samples are too few for CCA: it needs 3"),
        (lambda: after()("rsa"), "there is no minibatch yet"),
        (lambda: after((X, Y), (X[:, :3], Y))("procrustes"), "x has 3 features, and had 7 before"),
        (lambda: after((X, Y[:9]))("linear_cka"), "x has 80 samples and y has 9"),
        (lambda: after((X[:8], Y[:8]))("mean_cca"), "x has 7 directions in 8 samples.*needs at least 9"),
        (lambda: after((X * np.nan, Y))("svcca"), "80 of 80 samples are not finite"),
        (lambda: after((X * 0 + 0.1, Y))("procrustes"), "x is constant"),
        (lambda: after((X, Y * 0 + 0.1))("regression_r2"), "y is constant"),
        (lambda: SpectrumStream().covariance(), "0 samples are too few"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("svca", {}, "there is no measure 'svca'; did you mean 'svcca'"),
        ("svcca", {"varience": 0.9}, "svcca has no option 'varience'; did you mean 'variance'"),
        ("svcca", {"variance": 9}, "variance is 9"),
    ],
)
def test_measures_that_are_not_there(name, options, message):
    with pytest.raises(AnalysisError, match=message):
        streaming(name, **options)
