"""Intervals of CKA over images, against direct recomputation from the layers of every choice of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import analysis
from analysis.jobs.cka import cka
from analysis.similarity import linear_cka, rbf_cka
from analysis.stimuli import make_stimuli
from analysis.uncertainty import Resampling, bootstrap
from nnray.errors import AnalysisError


@pytest.fixture
def two(copied: analysis.Networks) -> analysis.Networks:
    return copied.where("seed == 0")


@torch.no_grad()
def layers_of(networks: analysis.Networks, n: int) -> dict[tuple[str, str], torch.Tensor]:
    images = torch.tensor(make_stimuli(networks, "test", n).images)
    return {
        (network.trial, layer): network.load()(images, outputs=layer)[layer].flatten(1).double()
        for network in networks
        for layer in ("flatten", "linear")
    }


MEASURES = {
    "unbiased": ({}, lambda x, y: linear_cka(x, y, unbiased=True)),
    "biased": ({"unbiased": False}, linear_cka),
    "rbf": ({"kernel": "rbf", "bandwidth": 0.7}, lambda x, y: rbf_cka(x, y, 0.7, unbiased=True)),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("way", ["bootstrap", "split-half"])
def test_intervals_of_one_minibatch_are_those_of_the_plain_function(two, name, way):
    options, reference = MEASURES[name]
    result = cka(two, ["flatten", "linear"], n=40, batch_size=40, interval=way, resamples=7, level=0.8, **options)
    values, how = layers_of(two, 40), Resampling(way, 7, 0.8, 0)
    assert len(result) == 16
    for row in result.itertuples():
        x, y = values[row.trial_a, row.layer_a], values[row.trial_b, row.layer_b]
        drawn = [reference(x[index], y[index]) for index in (how.index(number, 40) for number in range(7))]
        expected = [reference(x, y), *how.ends(np.array(drawn))]
        assert [row.value, row.low, row.high] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    x, y = values[two[0].trial, "flatten"], values[two[1].trial, "linear"]
    if (name, way) == ("biased", "bootstrap"):
        row = result[(result["layer_a"] == "flatten") & (result["layer_b"] == "linear")].iloc[1]
        assert (row["trial_a"], row["trial_b"]) == (two[0].trial, two[1].trial)
        estimate = bootstrap("linear_cka", x, y, resamples=7, level=0.8)
        assert [row["value"], row["low"], row["high"]] == pytest.approx(list(estimate), rel=1e-4)


def hsic(x: torch.Tensor, y: torch.Tensor) -> float:
    """The unbiased estimate, written out as in Song et al. 2012, equation 5, but for a factor."""
    n = len(x)
    k, l = (((v - v.mean(0)) @ (v - v.mean(0)).T).fill_diagonal_(0) for v in (x, y))  # noqa: E741
    cross = (k @ l).trace() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ l.sum(0))
    return float(cross)


def test_intervals_of_several_minibatches_draw_within_each(two):
    result = cka(two, ["flatten", "linear"], n=66, batch_size=30, interval="bootstrap", resamples=5)
    values, how = layers_of(two, 66), Resampling("bootstrap", 5, 0.95, 0)

    def value(x, y, number):
        sums = np.zeros(3)
        for batch in range(2):
            index = torch.arange(30) if number is None else how.index(2 * number + batch, 30)
            places = 30 * batch + index
            sums += [hsic(a[places], b[places]) for a, b in ((x, y), (x, x), (y, y))]
        return sums[0] / np.sqrt(sums[1] * sums[2])

    for row in result.itertuples():
        x, y = values[row.trial_a, row.layer_a], values[row.trial_b, row.layer_b]
        low, high = how.ends(np.array([value(x, y, number) for number in range(5)]))
        assert [row.value, row.low, row.high] == pytest.approx([value(x, y, None), low, high], rel=1e-4, abs=1e-5)


def test_values_do_not_depend_on_intervals_or_memory(copied):
    options = {"n": 64, "batch_size": 32}
    plain = cka(copied, "*.relu", **options)
    with_ends = cka(copied, "*.relu", interval="split-half", resamples=4, **options)
    np.testing.assert_allclose(with_ends["value"], plain["value"], rtol=1e-5)
    assert (with_ends["low"] <= with_ends["high"]).all()
    tiled = cka(copied, "*.relu", interval="split-half", resamples=4, memory=1, name="tiled", **options)
    np.testing.assert_allclose(tiled[["value", "low", "high"]], with_ends[["value", "low", "high"]], rtol=1e-6)
    own = with_ends[(with_ends["trial_a"] == with_ends["trial_b"]) & (with_ends["layer_a"] == with_ends["layer_b"])]
    np.testing.assert_allclose(own[["low", "high"]], 1, rtol=1e-6)


def test_more_images_make_intervals_narrower(two):
    widths = []
    for n in (32, 256):
        rows = cka(two, ["flatten", "linear"], n=n, batch_size=n, unbiased=False, interval="bootstrap", resamples=40)
        others = rows[rows["trial_a"] != rows["trial_b"]]
        widths.append((others["high"] - others["low"]).mean())
    assert widths[1] < widths[0] / 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": "jackknife"}, "interval: 'jackknife' is none of bootstrap, split-half"),
        ({"interval": "bootstrap", "resamples": 1}, "resamples is 1, and an interval takes two or more"),
        ({"interval": "split-half", "n": 7}, "minibatches of 7 images are too few for CKA: it needs 8"),
    ],
)
def test_refuses(two, options, message):
    with pytest.raises(AnalysisError, match=message):
        two.cka("linear", **options)
