"""Measures of one set of activations against known shapes and slow textbook versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_distances

from analysis.geometry import (
    class_separation,
    dead_units,
    effective_rank,
    participation_ratio,
    pca_spectrum,
    sparsity,
    two_nn,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 6)) * np.arange(1, 7) + 4


@pytest.mark.parametrize("x", [X, X @ RANDOM.normal(size=(6, 200))], ids=["narrow", "wide"])
def test_the_spectrum_is_scikit_learns(x):
    expected = PCA().fit(x).explained_variance_
    np.testing.assert_allclose(pca_spectrum(x), expected, rtol=1e-9, atol=1e-9 * expected[0])
    assert participation_ratio(x) == pytest.approx(expected.sum() ** 2 / (expected**2).sum())


def test_directions_that_share_the_variance_count():
    corners = np.vstack([np.eye(5), -np.eye(5)])
    assert participation_ratio(corners) == pytest.approx(5)
    assert effective_rank(corners) == pytest.approx(5)
    assert participation_ratio(np.outer(np.arange(9.0), np.ones(4))) == pytest.approx(1)
    assert effective_rank(np.outer(np.arange(9.0), np.ones(4))) == pytest.approx(1)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_a_turned_sphere(dimension):
    points = np.random.default_rng(1).normal(size=(2000, dimension + 1))
    sphere = points / np.linalg.norm(points, axis=1, keepdims=True)
    turned = sphere @ ortho_group.rvs(40, random_state=0)[: dimension + 1]
    assert two_nn(turned) == pytest.approx(dimension, rel=0.08)


def test_two_nn_is_the_papers_fit():
    x = RANDOM.uniform(size=(50, 3))
    near = np.sort(cdist(x, x), axis=1)
    ratios = np.sort(near[:, 2] / near[:, 1])
    points = [(math.log(ratio), -math.log(1 - i / 50)) for i, ratio in enumerate(ratios, start=1) if i <= 45]
    slope = np.linalg.lstsq([[a] for a, _ in points], [b for _, b in points], rcond=None)[0][0]
    assert two_nn(x) == pytest.approx(slope, rel=1e-9)
    assert two_nn(np.vstack([x, x[:7]])) == pytest.approx(slope, rel=1e-9)


def test_class_separation_is_the_papers_double_sum():
    labels = np.array([0] * 10 + [1] * 30 + [7] * 40)
    distances = cosine_distances(X)
    blocks = [[distances[labels == a][:, labels == b].mean() for b in (0, 1, 7)] for a in (0, 1, 7)]
    expected = 1 - np.mean(np.diag(blocks)) / np.mean(blocks)
    assert class_separation(X, labels) == pytest.approx(expected, rel=1e-9)
    assert class_separation(np.repeat(np.eye(3), 4, axis=0), np.repeat([0, 1, 2], 4)) == pytest.approx(1)


def test_silent_units_are_counted():
    x = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, -0.1]])
    assert sparsity(x) == pytest.approx(3 / 6)
    assert dead_units(x) == pytest.approx(1 / 3)
    assert sparsity(x, threshold=0.5) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pca_spectrum(X[:1]), "1 samples are too few"),
        (lambda: two_nn(X[:9]), r"9 samples are too few for TwoNN .*: it needs 10"),
        (lambda: two_nn(X, discard=1.0), "discard is 1.0"),
        (lambda: class_separation(X, np.zeros(80)), "at least two classes"),
        (lambda: class_separation(X, np.zeros(79)), "80 samples and 79 labels"),
        (lambda: class_separation(X * 0, np.arange(80) % 2), "80 samples are all zero"),
        (lambda: sparsity(X * np.inf), "not finite"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
