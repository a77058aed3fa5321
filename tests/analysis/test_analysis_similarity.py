"""Measures of similarity against other libraries and slow textbook versions, and their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes, subspace_angles
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, spearmanr
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict

from analysis.similarity import (
    canonical_correlations,
    linear_cka,
    mean_cca,
    mutual_knn,
    procrustes,
    pwcca,
    rbf_cka,
    regression_r2,
    rsa,
    svcca,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 7)) * np.linspace(0.2, 3, 7) + 2
Y = np.tanh(X @ RANDOM.normal(size=(7, 5)) / 4) + 0.3 * RANDOM.normal(size=(60, 5))
WIDE_X, WIDE_Y = (
    X @ RANDOM.normal(size=(7, 300)) + 0.1 * RANDOM.normal(size=(60, 300)),
    Y @ RANDOM.normal(size=(5, 200)),
)


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


def by_eigenvalues(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations and directions from Sxx^-1 Sxy Syy^-1 Syx, as Hotelling has it."""
    x, y = centred(x), centred(y)
    product = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    values, vectors = np.linalg.eig(product)
    order = np.argsort(-values.real)[: min(x.shape[1], y.shape[1])]
    variates = x @ vectors[:, order].real
    return np.sqrt(values.real[order]), variates / np.linalg.norm(variates, axis=0)


def test_canonical_correlations_are_cosines_of_scipys_subspace_angles():
    expected = np.sort(np.cos(subspace_angles(centred(X), centred(Y))))[::-1]
    np.testing.assert_allclose(canonical_correlations(X, Y), expected, rtol=1e-9)
    assert mean_cca(X, Y) == pytest.approx(expected.mean(), rel=1e-9)


def test_pwcca_is_morcos_formula():
    correlations, variates = by_eigenvalues(X, Y)
    weights = np.abs(variates.T @ centred(X)).sum(axis=1)
    assert pwcca(X, Y) == pytest.approx((weights * correlations).sum() / weights.sum(), rel=1e-7)


def test_svcca_is_cca_of_the_leading_components():
    u, s, _ = np.linalg.svd(centred(X), full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.9)) + 1
    assert kept < X.shape[1]
    v, t, _ = np.linalg.svd(centred(Y), full_matrices=False)
    kept_y = int(np.searchsorted(np.cumsum(t**2) / (t**2).sum(), 0.9)) + 1
    expected = np.linalg.svd(u[:, :kept].T @ v[:, :kept_y])[1].mean()
    assert svcca(X, Y, variance=0.9) == pytest.approx(expected, rel=1e-9)
    assert svcca(X, Y, variance=1.0) == pytest.approx(mean_cca(X, Y))


@pytest.mark.parametrize(("x", "y"), [(X, Y), (WIDE_X, WIDE_Y), (X, WIDE_Y)], ids=["narrow", "wide", "mixed"])
def test_procrustes_is_scipys(x, y):
    one, other = (centred(z) / np.linalg.norm(centred(z)) for z in (x, y))
    width = max(one.shape[1], other.shape[1])
    one, other = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (one, other))
    rotation, alignment = orthogonal_procrustes(one, other)
    assert procrustes(x, y) == pytest.approx(math.acos(alignment), rel=1e-7)
    assert procrustes(x, y, kind="euclidean") == pytest.approx(np.linalg.norm(one @ rotation - other), rel=1e-7)
    assert procrustes(x, y, kind="squared") == pytest.approx(np.linalg.norm(one @ rotation - other) ** 2, rel=1e-7)


@pytest.mark.parametrize("bandwidth", [0.4, 1.0])
def test_rbf_cka_is_the_textbook(bandwidth):
    grams = []
    for z in (X, Y):
        squared = cdist(z, z, "sqeuclidean")
        grams.append(np.exp(-squared / (2 * bandwidth**2 * np.median(squared))))
    h = np.eye(len(X)) - 1 / len(X)
    k, l = (h @ gram @ h for gram in grams)  # noqa: E741
    expected = np.trace(k @ l) / math.sqrt(np.trace(k @ k) * np.trace(l @ l))
    assert rbf_cka(X, Y, bandwidth) == pytest.approx(expected, rel=1e-9)


def test_rsa_is_numpys_correlations_compared_by_rank():
    upper = np.triu_indices(len(X), 1)
    expected = spearmanr(1 - np.corrcoef(X)[upper], 1 - np.corrcoef(Y)[upper]).statistic
    assert rsa(X, Y) == pytest.approx(expected, rel=1e-9)
    distances = [cdist(z, z)[upper] for z in (X, Y)]
    assert rsa(X, Y, "euclidean", "pearson") == pytest.approx(np.corrcoef(*distances)[0, 1], rel=1e-9)


def test_mutual_knn_counts_shared_neighbours():
    near = []
    for z in (X, Y):
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -np.inf)
        near.append([set(row) for row in np.argsort(-cosines, axis=1)[:, :4]])
    expected = np.mean([len(one & other) / 4 for one, other in zip(*near, strict=True)])
    assert mutual_knn(X, Y, k=4) == pytest.approx(expected)


@pytest.mark.parametrize("ridge", [0.0, 20.0])
def test_regression_is_scikit_learns(ridge):
    model = Ridge(alpha=ridge) if ridge else LinearRegression()
    expected = r2_score(Y, model.fit(X, Y).predict(X), multioutput="variance_weighted")
    assert regression_r2(X, Y, ridge=ridge) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("x", "ridge"), [(X, 0.0), (X, 20.0), (WIDE_X, 5.0)], ids=["plain", "ridge", "wide"])
def test_cross_validated_regression_is_scikit_learns(x, ridge):
    model = Ridge(alpha=ridge) if ridge else LinearRegression()
    predicted = cross_val_predict(model, centred(x), Y, cv=KFold(5, shuffle=True, random_state=3))
    expected = r2_score(Y, predicted, multioutput="variance_weighted")
    assert regression_r2(x, Y, ridge=ridge, folds=5, seed=3) == pytest.approx(expected, rel=1e-5)


SYMMETRIC = {
    "linear_cka": linear_cka,
    "rbf_cka": rbf_cka,
    "mean_cca": mean_cca,
    "svcca": svcca,
    "angular": procrustes,
    "rsa": lambda x, y: rsa(x, y, "euclidean"),
    "mutual_knn": lambda x, y: mutual_knn(x, y, metric="euclidean"),
}
DISTANCES = {"angular"}
ALL = SYMMETRIC | {"pwcca": pwcca, "regression_r2": regression_r2}


@pytest.mark.parametrize("name", sorted(set(ALL) - {"pwcca"}))  # whose weights look at single features
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_nothing_changes_by_rotation_shift_scale_and_the_order_of_samples(name, seed, scale):
    random = np.random.default_rng(seed)
    rotation = ortho_group.rvs(X.shape[1], random_state=random)
    order = random.permutation(len(X))
    moved = scale * X @ rotation + random.normal(size=X.shape[1])
    assert ALL[name](moved[order], Y[order]) == pytest.approx(ALL[name](X, Y), rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_set_is_most_like_itself(name):
    assert ALL[name](X, X) == pytest.approx(0.0 if name in DISTANCES else 1.0, abs=1e-7)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetry(name):
    assert SYMMETRIC[name](X, Y) == pytest.approx(SYMMETRIC[name](Y, X), rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_arrays_tensors_and_images_are_the_same(name):
    expected = ALL[name](X[:, :6], Y)
    assert ALL[name](torch.tensor(X[:, :6]).reshape(60, 2, 3, 1), torch.tensor(Y, requires_grad=True)) == expected


@pytest.mark.parametrize("measure", [mean_cca, svcca, pwcca], ids=lambda measure: measure.__name__)
def test_cca_ignores_any_invertible_map(measure):
    mixed = X @ RANDOM.normal(size=(7, 7))
    if measure is mean_cca:
        assert measure(mixed, Y) == pytest.approx(measure(X, Y), rel=1e-6)
    assert measure(X, mixed) == pytest.approx(1.0, abs=1e-6) or measure is svcca


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_angle_and_the_distance_obey_the_triangle_inequality(seed):
    x, y, z = np.random.default_rng(seed).normal(size=(3, 12, 4))
    for kind in ("angular", "euclidean"):
        assert procrustes(x, z, kind) <= procrustes(x, y, kind) + procrustes(y, z, kind) + 1e-9


def test_directions_of_rounding_errors_do_not_count():
    doubled = np.hstack([X, X[:, :2] + X[:, 2:4]]).astype(np.float32)
    assert len(canonical_correlations(doubled, doubled)) == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_cca(WIDE_X, Y), r"x has 59 directions in 60 samples.*needs at least 61"),
        (lambda: regression_r2(WIDE_X, Y), "explains anything"),
        (lambda: mean_cca(X * 0, Y), "x is constant"),
        (lambda: procrustes(X, Y * 0), "y is constant"),
        (lambda: regression_r2(X, Y * 0 + 1), "y is constant"),
        (lambda: mutual_knn(X, Y, k=60), "60 samples are too few"),
        (lambda: rsa(X[:2], Y[:2]), "2 samples are too few"),
        (lambda: rsa(X[:, :1] * 0 + np.ones((1, 3)), Y), "features are all equal"),
        (lambda: rbf_cka(X, Y[:5]), "x has 60 samples and y has 5"),
        (lambda: rbf_cka(X * np.nan, Y), "60 of 60 samples are not finite"),
        (lambda: procrustes(X, Y, kind="angle"), "kind is 'angle', where one of angular"),
        (lambda: rsa(X, Y, "manhattan"), "dissimilarity is 'manhattan'"),
        (lambda: linear_cka(np.zeros((0, 3)), Y), "have no samples or no features"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
