"""Linear CKA: laws, and slow textbook versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from analysis.similarity import linear_cka


def hsic_biased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Gretton et al. 2005: tr(K H L H) / (n - 1)^2."""
    n = len(k)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ l @ h)) / (n - 1) ** 2


def hsic_unbiased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012, equation 5, term by term."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    terms = (
        np.trace(k @ l)
        + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (ones @ k @ l @ ones)
    )
    return float(terms) / (n * (n - 3))


@pytest.fixture(params=[(40, 6, 9), (12, 50, 30)], ids=["more samples", "more features"])
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    n, p, q = request.param
    random = np.random.default_rng(0)
    x = random.normal(size=(n, p)) + 3.0
    return x, x[:, :1] * random.normal(size=(1, q)) + random.normal(size=(n, q))


@pytest.mark.parametrize(
    ("unbiased", "hsic"), [(False, hsic_biased), (True, hsic_unbiased)], ids=["biased", "unbiased"]
)
def test_equals_the_textbook(pair, unbiased, hsic):
    x, y = pair
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))
    assert linear_cka(x, y, unbiased=unbiased) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
def test_laws(pair, unbiased):
    x, y = pair
    value = linear_cka(x, y, unbiased=unbiased)
    rotation = ortho_group.rvs(x.shape[1], random_state=0)
    assert linear_cka(x, x, unbiased=unbiased) == pytest.approx(1.0)
    assert linear_cka(y, x, unbiased=unbiased) == pytest.approx(value)
    assert linear_cka(-2.5 * x @ rotation + 7, y, unbiased=unbiased) == pytest.approx(value)
    assert linear_cka(torch.tensor(x).reshape(len(x), -1, 1, x.shape[1]), y, unbiased=unbiased) == pytest.approx(value)


def test_the_unbiased_value_of_unrelated_activations_is_zero_on_average():
    random = np.random.default_rng(1)
    draws = [(random.normal(size=(10, 100)), random.normal(size=(10, 100))) for _ in range(200)]
    assert abs(np.mean([linear_cka(x, y, unbiased=True) for x, y in draws])) < 0.02
    assert np.mean([linear_cka(x, y) for x, y in draws]) > 0.8


@pytest.mark.parametrize(
    ("x", "y", "unbiased", "message"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2)), False, "x has 3 samples and y has 4"),
        (np.zeros((1, 2)), np.zeros((1, 2)), False, "1 samples are too few"),
        (np.zeros((3, 2)), np.zeros((3, 2)), True, "3 samples are too few"),
    ],
)
def test_refuses(x, y, unbiased, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y, unbiased=unbiased)


def test_a_constant_layer_has_no_similarity():
    assert math.isnan(linear_cka(np.ones((5, 3)), np.eye(5)))
