"""Pair measures of all layers of all networks: those of the plain functions, resumable, wherever they are computed."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import analysis
from analysis import similarity
from analysis.jobs import tiles
from analysis.jobs.layer_parts import layers_by_parts
from analysis.pool import Actors
from analysis.similarity import measure_of, svcca
from analysis.stimuli import make_stimuli
from analysis.uncertainty import bootstrap, split_halves
from nnray.errors import AnalysisError
from nnray.graph import GraphModule


@torch.no_grad()
def values_of(networks: analysis.Networks, n: int, layers: str | list[str] = "*") -> dict[tuple, torch.Tensor]:
    images = torch.tensor(make_stimuli(networks, "test", n).images)
    return {
        (network.trial, network.epoch, layer): values
        for network in networks
        for layer, values in network.load()(images, outputs=layers).items()
    }


@pytest.fixture
def cnns(copied: analysis.Networks) -> analysis.Networks:
    return copied.where("model == 'nnray.models.SimpleCNN'")


OPTIONS = {"svcca": {"variance": 0.8}, "mutual_knn": {"k": 4}, "regression_r2": {"ridge": 1.0}}


@pytest.mark.parametrize("measure", sorted(similarity.MEASURES))
def test_pairs_have_the_values_of_the_plain_function(cnns, measure):
    options = OPTIONS.get(measure, {})
    layers = ["linear", "flatten"] if measure.endswith("cca") else ["linear", "block1.relu"]
    values = values_of(cnns, 240, layers)
    result = cnns.compare(measure, layers, n=240, **options)
    assert len(result) == len(values) ** 2
    function = getattr(similarity, measure)
    for row in result.itertuples():
        one, other = (row.trial_a, row.epoch_a, row.layer_a), (row.trial_b, row.epoch_b, row.layer_b)
        assert row.value == pytest.approx(function(values[one], values[other], **options), rel=1e-6, abs=2e-7)
    assert result.errors.empty


def test_a_second_call_computes_nothing_and_more_networks_only_what_is_missing(copied, monkeypatch):
    first = copied[:2].compare("procrustes", "linear", n=64, name="mine")
    assert len(first) == 4
    calls, Procrustes = [], type(measure_of("procrustes"))  # noqa: N806 - a class
    between = Procrustes.between
    monkeypatch.setattr(Procrustes, "between", lambda *args: calls.append(args) or between(*args))
    assert copied[:2].compare("procrustes", "linear", n=64, name="mine").equals(first)
    assert not calls
    every = copied.compare("procrustes", "linear", n=64, name="mine")
    assert len(every) == 16
    assert len(calls) == 10 - 3  # pairs of four networks, without those of two
    assert every.matrix().iloc[:2, :2].to_numpy().tolist() == first.matrix().to_numpy().tolist()
    assert np.array_equal(every.matrix(), every.matrix().T)
    table = pd.read_parquet(copied.store / "analysis/mine/result.parquet")
    assert list(table.columns) == ["trial_a", "epoch_a", "layer_a", "trial_b", "epoch_b", "layer_b", "value"]
    with pytest.raises(AnalysisError, match="analysis 'mine' holds another computation"):
        copied.compare("procrustes", "linear", n=64, kind="squared", name="mine")


def test_one_and_four_actors_and_none_are_equal_bit_for_bit(copied, ray_session):
    call = functools.partial(copied.compare, "svcca", ["linear"], n=200, interval="bootstrap", resamples=5)
    here = call(name="here", memory=1)
    assert call(name="one", actors=Actors(1)).equals(here)
    assert call(name="four", actors=Actors(4)).equals(here)


def test_layers_of_equal_names_alone(copied):
    whole = copied.compare("rsa", ["*.relu", "linear"], n=30)
    same = copied.compare("rsa", ["*.relu", "linear"], n=30, same="layer")
    kept = whole[whole["layer_a"].astype(str) == whole["layer_b"].astype(str)].reset_index(drop=True)
    assert same["value"].tolist() == kept["value"].tolist()
    assert len(same) < len(whole)


def test_networks_without_layers_in_common_are_no_pairs(copied, monkeypatch):
    monkeypatch.setattr(tiles, "_MOST_NETWORKS", 1)
    first = copied.compare("rsa", "*.relu", n=20, same="layer")
    assert first["value"].notna().all()
    assert first.errors.empty
    written = {path: path.stat().st_mtime_ns for path in (copied.store / "analysis").rglob("values/*")}
    assert copied.compare("rsa", "*.relu", n=20, same="layer").equals(first)
    assert written == {path: path.stat().st_mtime_ns for path in (copied.store / "analysis").rglob("values/*")}


def test_epochs_of_one_network_alone(copied):
    result = copied.epochs("all").compare("procrustes", "linear", n=64, same="trial")
    assert (result["trial_a"].astype(str) == result["trial_b"].astype(str)).all()
    assert len(result) == 4 * 2 * 2


def test_against_a_reference_network(copied):
    reference, whole = copied[2:3], copied.compare("pwcca", "linear", n=100)
    result = copied.compare("pwcca", "linear", n=100, against=reference)
    assert set(result["trial_a"]) == {reference[0].trial}
    assert result.matrix().shape == (1, 4)
    assert result["value"].tolist() == whole[whole["trial_a"] == reference[0].trial]["value"].tolist()
    moved = copied.epochs([0]).compare("procrustes", "linear", n=100, against=copied, same=["trial", "layer"])
    assert len(moved) == 4
    assert (moved["epoch_a"] > moved["epoch_b"]).all()


def test_a_function_of_ones_own(copied):
    def closeness(x, y):
        assert x.ndim == 2
        return float((x - y).abs().mean())

    values = values_of(copied, 20, "linear")
    result = copied.compare(closeness, "linear", n=20)
    for row in result.itertuples():
        one, other = (values[getattr(row, f"trial_{side}"), 1, "linear"] for side in "ab")
        assert row.value == pytest.approx(closeness(one, other), rel=1e-5)

    def fails(x, y):
        raise RuntimeError("not these")

    failed = copied[:2].compare(fails, "linear", n=20)
    assert failed["value"].isna().all()
    assert set(failed.errors["error"]) == {"RuntimeError: not these"}


@pytest.mark.parametrize(("way", "plain"), [("bootstrap", bootstrap), ("split-half", split_halves)])
@pytest.mark.parametrize("measure", ["svcca", "rsa", "rbf_cka"])
def test_intervals_are_those_of_the_plain_function(cnns, measure, way, plain):
    values = values_of(cnns, 60, "linear")
    result = cnns.compare(measure, "linear", n=60, interval=way, resamples=8, level=0.8, seed=0)
    expected = plain(measure, *values.values(), resamples=8, level=0.8, seed=0)
    row = result.iloc[1]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(tuple(expected), rel=1e-5)
    assert list(result.columns)[-3:] == ["value", "low", "high"]


def test_little_memory_gives_the_same(copied, monkeypatch):
    whole = copied.compare("rsa", n=20, name="whole")
    monkeypatch.setattr(tiles, "_MOST_NETWORKS", 1)
    parts = copied.compare("rsa", n=20, name="parts", memory=1)
    assert len(list((copied.store / "analysis/parts/values").iterdir())) == 10
    assert parts["value"].tolist() == pytest.approx(whole["value"].tolist(), rel=1e-9)


def test_layers_by_parts_are_the_layers(copied):
    model, stimuli = copied[0].load(), make_stimuli(copied, "test", 30)
    expected = values_of(copied[:1], 30)
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    for memory, count in ((10**9, 2), (1, 1 + len(expected))):
        passes.clear()
        found = dict(layers_by_parts(model, stimuli, ("*",), torch.device("cpu"), memory))
        assert len(passes) == count
        assert list(found) == [layer for _, _, layer in expected]
        for (_, _, layer), values in expected.items():
            torch.testing.assert_close(found[layer], values)


def test_in_place_operations_do_not_fool_it(copied, monkeypatch):
    torch.manual_seed(0)
    model = GraphModule({"flat": nn.Flatten(), "linear": nn.Linear(64, 20), "relu": nn.ReLU(inplace=True)}).eval()
    monkeypatch.setattr("analysis.loading.load_network", lambda *_: model)
    assert 0.1 < copied[:1].compare("svcca", ["linear", "relu"], n=200).matrix().iloc[0, 1] < 0.95


def test_layers_with_too_many_directions_or_values_that_are_not_finite_are_errors(copied):
    path = copied.store / "trials" / copied[0].trial / "checkpoints" / "epoch=0001.safetensors"
    weights = load_file(path)
    save_file({name: value * (np.nan if name.startswith("linear") else 1) for name, value in weights.items()}, path)
    result = copied.compare("mean_cca", ["block2.relu", "linear"], n=20)
    errors = {(row.trial, row.layer): row.error for row in result.errors.itertuples()}
    assert errors[copied[0].trial, "linear"] == "activations of 20 of 20 samples are not finite"
    (wide,) = (error for (trial, layer), error in errors.items() if trial == copied[1].trial and layer == "block2.relu")
    assert "the layer has 19 directions in 20 samples" in wide
    assert "needs at least 21 samples" in wide
    assert set(result["layer_a"]) == {"linear"}


def test_a_damaged_network_is_a_row_of_errors_and_not_the_end(copied):
    (copied.store / "trials" / copied[1].trial / "checkpoints" / "epoch=0001.safetensors").write_bytes(b"no weights")
    result = copied.compare("rsa", "linear", n=20)
    assert result.errors["trial"].tolist() == [copied[1].trial]
    assert len(result.matrix()) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda nets: nets.compare("svca"), "there is no measure 'svca'; did you mean 'svcca'"),
        (lambda nets: nets.compare("svcca", variance=2), "variance is 2"),
        (lambda nets: nets.compare("svcca", ridge=2), "svcca has no option 'ridge'"),
        (lambda nets: nets.compare("mutual_knn", n=9), "9 images are too few for 10 nearest neighbours: it needs 11"),
        (lambda nets: nets.compare("rsa", n=5, interval="split-half"), "5 images are too few for RSA: it needs 6"),
        (lambda nets: nets.compare("rsa", interval="bootstraps"), "'bootstraps' is none of bootstrap, split-half"),
        (lambda nets: nets.compare("rsa", same="layers"), "there is no 'layers'; did you mean 'layer'"),
        (lambda nets: nets.compare("rsa", "lineal", n=9), r"no network could be used: .*did you mean 'linear'"),
        (lambda nets: nets.compare(3), "a measure's name or a function"),
        (lambda nets: nets.compare("rsa", against=nets[:0]), "there are no networks"),
        (lambda nets: nets[:0].compare("rsa"), "there are no networks"),
    ],
)
def test_refuses(networks, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(networks)


def test_networks_of_both(copied):
    both = copied[2:3] | copied[:3]
    assert [network.trial for network in both] == [copied[place].trial for place in (2, 0, 1)]
    assert len(both.epochs("all")) == 6


def test_functions_stand_for_their_names(copied):
    assert copied.compare(svcca, "linear", n=99, variance=0.9).equals(
        copied.compare("svcca", "linear", n=99, variance=0.9)
    )
