"""Jobs on networks: exact, resumable, the same wherever they run."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import analysis
from analysis.jobs.cka import cka
from analysis.jobs.stitching import _in_blocks
from analysis.jobs.stitching_layers import fit_layer, stitching_layer
from analysis.pool import Actors, pool_of
from analysis.reductions import projected
from analysis.similarity import linear_cka, rbf_cka
from analysis.stimuli import make_stimuli
from nnray.errors import AnalysisError
from nnray.graph import GraphModule


@torch.no_grad()
def values_of(networks: analysis.Networks, n: int) -> dict[tuple[str, str], torch.Tensor]:
    images = torch.tensor(make_stimuli(networks, "test", n).images)
    return {
        (network.trial, layer): values
        for network in networks
        for layer, values in network.load()(images, outputs="*").items()
    }


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, lambda x, y: linear_cka(x, y, unbiased=True)),
        ({"unbiased": False}, linear_cka),
        ({"kernel": "rbf", "bandwidth": 0.5}, lambda x, y: rbf_cka(x, y, 0.5, unbiased=True)),
    ],
    ids=["unbiased", "biased", "rbf"],
)
def test_one_minibatch_gives_the_values_of_the_plain_function(copied, options, reference):
    values = values_of(copied, 60)
    matrix = cka(copied, n=60, batch_size=60, **options).matrix()
    assert matrix.shape == (len(values), len(values))
    for one, x in values.items():
        for other, y in values.items():
            found = matrix.loc[(one[0], 1, one[1]), (other[0], 1, other[1])]
            assert found == pytest.approx(reference(x, y), rel=1e-5, abs=1e-6)


def test_minibatches_are_summed_before_they_are_divided(copied):
    """Nguyen et al. 2021: HSIC of each minibatch, numerators and denominators apart."""
    size, layer = 50, "linear"
    two = copied.where("model == 'nnray.models.SimpleCNN'")
    x, y = (values.double() for key, values in values_of(two, 170).items() if key[1] == layer)

    def hsic(a: torch.Tensor, b: torch.Tensor) -> float:
        k, l = a @ a.T, b @ b.T  # noqa: E741
        k.fill_diagonal_(0), l.fill_diagonal_(0)
        n, ones = len(a), torch.ones(len(a), dtype=torch.float64)
        middle = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        return float((torch.trace(k @ l) + middle - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))

    parts = list(zip(x[:150].split(size), y[:150].split(size), strict=True))
    cross, own, other = (
        sum(hsic(*pair) for pair in pairs) for pairs in (parts, [(a, a) for a, _ in parts], [(b, b) for _, b in parts])
    )
    found = two.cka(layer, n=170, batch_size=size).matrix().iloc[0, 1]
    assert found == pytest.approx(cross / (own * other) ** 0.5, rel=1e-5)


def test_the_result_is_a_table_that_pandas_reads_and_a_second_call_computes_nothing(copied, monkeypatch):
    first = copied.cka("*.relu", n=64, name="mine")
    table = pd.read_parquet(copied.store / "analysis/mine/result.parquet")
    assert list(table.columns) == ["trial_a", "epoch_a", "layer_a", "trial_b", "epoch_b", "layer_b", "value"]
    assert table["value"].tolist() == first["value"].tolist()
    monkeypatch.setattr("analysis.jobs.cka.make_gram_work", lambda *_: pytest.fail("computed again"))
    assert copied.cka("*.relu", n=64, name="mine").equals(first)
    with pytest.raises(AnalysisError, match=r"analysis 'mine' holds another computation \(batch_size: 64, not 32\)"):
        copied.cka("*.relu", n=64, batch_size=32, name="mine")


def test_more_networks_compute_only_what_is_missing(copied):
    copied[:2].cka("*.relu", n=64, name="mine")
    before = {path.name: path.stat().st_mtime_ns for path in (copied.store / "analysis/mine/grams").iterdir()}
    assert len(before) == 2
    assert len(copied.cka("*.relu", n=64, name="mine").matrix()) > 0
    after = {path.name: path.stat().st_mtime_ns for path in (copied.store / "analysis/mine/grams").iterdir()}
    assert len(after) == 4
    assert {name: after[name] for name in before} == before


def test_little_memory_gives_the_same(copied):
    whole = copied.cka("*", n=64, name="whole")
    tiled = copied.cka("*", n=64, name="tiled", memory=1)
    assert tiled["value"].tolist() == pytest.approx(whole["value"].tolist(), rel=1e-6)


def test_in_place_operations_do_not_fool_it(copied, monkeypatch):
    """A linear layer and the in-place ReLU behind it are two things."""
    torch.manual_seed(0)
    model = GraphModule({"flat": nn.Flatten(), "linear": nn.Linear(64, 20), "relu": nn.ReLU(inplace=True)}).eval()
    monkeypatch.setattr("analysis.loading.load_network", lambda *_: model)
    value = copied[:1].cka(["linear", "relu"], n=64).matrix().iloc[0, 1]
    assert 0.1 < value < 0.95


def test_a_damaged_network_is_a_row_of_errors_and_not_the_end(copied):
    path = copied.store / "trials" / copied[1].trial / "checkpoints" / "epoch=0001.safetensors"
    path.write_bytes(b"no weights")
    result = copied.cka("*.relu", n=64)
    assert result.errors["trial"].tolist() == [copied[1].trial]
    assert "is damaged" in result.errors["error"][0]
    assert set(result["trial_a"]) == {network.trial for network in copied} - {copied[1].trial}


def test_layers_that_only_some_networks_have_are_errors_of_the_others(copied):
    result = copied.cka("block1.relu", n=64)
    assert len(result.errors) == 2
    assert "block1.relu" in result.errors["error"][0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda nets: nets.cka("nothing"), r"no network could be used: .*nothing"),
        (lambda nets: nets.cka(n=3), "minibatches of 3 images are too few for CKA: it needs 4"),
        (lambda nets: nets.cka(n=10**6), "n is 1000000, and the data set has 261 samples"),
        (lambda nets: nets.cka(data="tset"), "'tset' is none of"),
        (lambda nets: nets.cka(name="../x"), "cannot name an analysis"),
        (lambda nets: nets.extract(dtype="float23"), "did you mean 'float32'"),
        (lambda nets: nets.extract(reduce="men"), "did you mean 'mean'"),
        (lambda nets: nets.figures(which="two_n"), "did you mean 'two_nn'"),
        (lambda nets: nets.cka(data=(np.zeros((9, 1, 8, 8)), [1])), "9 images and 1 labels"),
        (lambda nets: nets.cka(3), "names or globs such as"),
        (lambda nets: nets.cka("linear", n=20, actors="2"), "actors is '2', where a number or analysis.Actors"),
        (lambda nets: nets.cka("linear", n=20, actors=-1), "-1 is no number of actors"),
        (lambda nets: nets.extract("nothing"), "every network failed: .*nothing"),
        (lambda nets: nets.compare("rsa", "nothing"), "no network could be used: .*nothing"),
        (lambda nets: nets.stitching("nothing"), "no pair could be stitched: .*nothing"),
        (lambda nets: nets[:1].connectivity(), "there are no pairs"),
        (lambda nets: nets.map("norms"), "map takes a function .* not 'norms'"),
        (lambda nets: nets[nets[0].trial], "a number or a slice is expected"),
        (lambda nets: nets.cka("linear", n=20).save("picture.txt"), "a picture ends in .pdf"),
        (lambda nets: nets.cka("linear", n=20).save("nowhere/cka.pdf"), "there is no folder nowhere"),
    ],
)
def test_refuses_and_leaves_nothing_behind(networks, call, message):
    networks.cka("linear", n=20, actors=0)
    there = sorted((networks.store / "analysis").iterdir())
    with pytest.raises(AnalysisError, match=message):
        call(networks)
    assert sorted((networks.store / "analysis").iterdir()) == there


def test_extracted_layers_are_the_layers(copied):
    acts = copied.extract(["*.relu", "linear"], n=260)
    for (trial, layer), values in values_of(copied, 260).items():
        if layer.endswith("relu") or layer == "linear":
            np.testing.assert_allclose(acts[trial, layer], values, rtol=1e-5, atol=1e-6)
            assert isinstance(acts[trial, layer], np.memmap)
    stimuli = make_stimuli(copied, "test", 260)
    assert acts.samples.tolist() == stimuli.samples.tolist()
    assert acts.labels.tolist() == stimuli.labels.tolist()
    again = analysis.Extracted(acts.folder)
    trial = copied[0].trial
    assert torch.equal(again.torch(trial[:8], 1, "linear"), torch.tensor(np.array(acts[trial, "linear"])))


def test_extracted_layers_reduced(copied):
    whole = copied[:1].extract("block1.relu", n=20)
    trial = copied[0].trial
    values = torch.tensor(np.array(whole[trial, "block1.relu"]))
    for reduction, expected in {
        "mean": values.mean((2, 3)),
        "max": values.amax((2, 3)),
        "flatten": values.flatten(1),
    }.items():
        found = copied[:1].extract("block1.relu", n=20, reduce=reduction, dtype="float16")[trial, "block1.relu"]
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    few = copied[:1].extract("block1.relu", n=20, project=8)[trial, "block1.relu"]
    assert few.shape == (20, 8)


def test_a_projection_keeps_distances_as_well_as_it_says():
    x = torch.randn(60, 5000)
    dimensions = 200
    kept = torch.pdist(projected(x, dimensions, 0)).square() / torch.pdist(x).square()
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(kept.std()) == pytest.approx((2 / dimensions) ** 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("ffff", "linear"), "no trial begins with 'ffff'"),
        ((0, 5, "linear"), "epoch 5 is not here"),
        ((0, "lineal"), "did you mean 'linear'"),
        ("linear", r"acts\[trial, layer\]"),
    ],
)
def test_extracted_layers_are_found_or_named(copied, key, message):
    acts = copied.extract("linear", n=4)
    if isinstance(key, tuple) and key[0] == 0:
        key = (copied[0].trial, *key[1:])
    with pytest.raises(AnalysisError, match=message):
        acts[key]


def test_activations_open_as_xarray(copied):
    xarray = pytest.importorskip("xarray")
    acts = copied.extract("block1.*", n=12)
    trial, layer = acts.index[["trial", "layer"]].iloc[0]
    array = acts.xarray(trial, layer)
    assert isinstance(array, xarray.DataArray)
    assert array.dims == ("sample", "axis1", "axis2", "axis3")
    assert array.name == layer
    assert array.attrs == {"trial": trial, "epoch": 1}
    assert np.array_equal(array["label"], acts.labels)
    assert np.array_equal(array.sel(sample=acts.samples[3]), acts[trial, layer][3])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_activations_are_kept_in_the_type_asked_for(copied, dtype):
    whole = copied[:1].extract("linear", n=12, dtype="float64", name="whole")
    kept = copied[:1].extract("linear", n=12, dtype=dtype, name=dtype)[copied[0].trial, "linear"]
    assert kept.dtype == dtype
    assert np.array_equal(kept, whole[copied[0].trial, "linear"].astype(dtype))


def test_figures_of_layers(copied):
    result = copied.figures(["*.relu", "linear"], which=["participation_ratio", "probe"], n=200)
    values = values_of(copied, 200)
    stimuli = make_stimuli(copied, "test", 200)
    from analysis.geometry import participation_ratio
    from analysis.probes import linear_probe

    row = result.iloc[0]
    x = values[row["trial"], row["layer"]]
    assert row["participation_ratio"] == pytest.approx(participation_ratio(x), rel=1e-5)
    assert row["probe"] == pytest.approx(linear_probe(x, stimuli.labels), abs=0.011)
    assert result["probe"].between(0.2, 1).all()
    assert result.errors.empty


def test_a_figure_that_cannot_be_had_is_empty_and_says_why(copied):
    result = copied.figures("linear", which=["two_nn", "sparsity"], n=9)
    assert result["two_nn"].isna().all()
    assert result["sparsity"].notna().all()
    assert set(result.errors["error"]) == {
        "two_nn: 9 samples are too few for TwoNN (equal samples count once): it needs 10"
    }


def test_what_a_function_returns_becomes_rows(copied):
    def depth(network, activations):
        return network.epoch + len(activations)

    def norms(network, activations, shown):
        assert len(shown.labels) == 10
        return {name: value.norm() for name, value in activations.items()}

    def table(network, activations):
        return pd.DataFrame({"layer": list(activations), "size": [value[0].numel() for value in activations.values()]})

    assert copied.map(depth)["value"].tolist() == [1, 1, 1, 1]
    assert copied.map(norms, "linear", n=10)["linear"].notna().all()
    assert set(copied.map(table, "linear", n=10)["size"]) == {10}


def test_a_function_that_fails_for_some(copied):
    bad = copied[0].trial

    def picky(network, activations):
        if network.trial == bad:
            raise RuntimeError("not this one")
        return 1

    result = copied.map(picky)
    assert len(result) == 3
    assert result.errors["trial"].tolist() == [bad]
    assert "RuntimeError: not this one" in result.errors["error"][0]
    assert result.sort_values("value").errors is result.errors


def test_actors_give_the_same_bit_for_bit(copied, ray_session):
    here = copied.cka("*.relu", n=64, name="here", memory=1)
    there = copied.cka("*.relu", n=64, name="there", memory=1, actors=Actors(2))
    assert there.equals(here)


def make_deadly_work(folder: Path):
    def work(task: int) -> int:
        mark = folder / str(task)
        if task == 7 or (task == 3 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 4:
            raise ValueError("four")
        return task * task

    return work


def test_an_actor_that_dies_is_replaced_and_its_work_done_unless_it_dies_of_it(ray_session, tmp_path):
    with pool_of(Actors(2)) as pool:
        done = {result.task: result for result in pool.work_through(range(8), make_deadly_work, (tmp_path,))}
    assert {task: result.value for task, result in done.items()} == {
        task: None if task in (4, 7) else task * task for task in range(8)
    }
    assert done[4].error.startswith("ValueError: four")
    assert "its worker died 4 times" in done[7].error


def test_stitching_by_stages(copied):
    images = copied.where("model == 'nnray.models.SimpleCNN'")
    result = images.stitching(
        "block1.*", kinds=["affine", "orthogonal", "low-rank"], rank=2, fit_n=600, epochs=3, lr=0.01
    )
    assert len(result) == 2 * 3 * 3 * 3  # pairs, layers, kinds, stages
    means = result.groupby(["kind", "stage"])["accuracy"].mean()
    assert means["affine", "least-squares"] > means["affine", "random"] + 0.2
    assert means["affine", "trained"] > means["affine", "random"] + 0.2
    assert means["affine", "least-squares"] > means["low-rank", "least-squares"]
    assert (result["penalty"] == result["own_accuracy"] - result["accuracy"]).all()


def test_a_network_stitched_to_its_own_copy_loses_nothing(copied):
    """Another epoch of training changes little; the same weights under another name would change nothing."""
    from analysis.jobs.combinations import StitchingOptions
    from analysis.jobs.stitching_work import Images, make_stitching_work
    from analysis.networks import Network

    stimuli = make_stimuli(copied, "test", 200)
    place = copied.store / "analysis/own"
    for folder in ("rows", "layers"):
        (place / folder).mkdir(parents=True)
    options, images = StitchingOptions(("affine",), ("least-squares",)), Images(stimuli, stimuli)
    network = copied[0]
    twin = Network(network.store, network.trial, network.epoch)
    make_stitching_work(images, copied.store, place, [], ("block2.*",), options, "cpu")((network, twin))
    (part,) = (place / "rows").iterdir()
    assert pd.read_parquet(part)["penalty"].tolist() == [0.0, 0.0]


def test_stitching_is_resumable_and_says_what_does_not_fit(copied):
    first = copied.stitching("flatten", stages="least-squares", n=50, fit_n=100, name="s")
    parts = list((copied.store / "analysis/s/rows").iterdir())
    parts[0].unlink()
    assert copied.stitching("flatten", stages="least-squares", n=50, fit_n=100, name="s").equals(first)
    with pytest.raises(AnalysisError, match="did you mean 'affine'"):
        copied.stitching("flatten", kinds="afine")
    with pytest.raises(AnalysisError, match="two networks or more"):
        copied[:1].stitching("flatten")
    mixed = copied.where("seed == 0").stitching("*", every_pair=True, stages="random", n=9, fit_n=9)
    assert mixed["error"].notna().any()
    assert mixed["error"].isna().any()
    assert mixed["error"].dropna().str.contains("no stitching layer leads|the output 'linear'").all()


def test_stitching_without_a_layer_and_with_sparse_ones(copied):
    images = copied.where("model == 'nnray.models.SimpleCNN'")
    result = images.stitching(
        ["block1.relu", "flatten"],
        kinds=["affine", "sparse"],
        stages=["identity", "random", "least-squares"],
        rank=2,
        n=200,
        fit_n=600,
    )
    assert result["error"].isna().all()
    assert result["stage"].value_counts().to_dict() == {"identity": 4, "random": 8, "least-squares": 8}
    assert (result.loc[result["stage"] == "identity", "kind"] == "identity").all()
    means = result.groupby(["kind", "stage"])["accuracy"].mean()
    assert means["affine", "least-squares"] > means["sparse", "least-squares"] > means["sparse", "random"]
    sparse = result[(result["kind"] == "sparse") & (result["layer_a"] == "flatten")]
    assert len(sparse) == 4
    for row in sparse.itertuples():
        mask = load_file(Path(result.attrs["folder"], row.path))[f"{row.signature}/1.mask"]
        assert mask.shape == (128, 128)
        assert (mask.sum(dim=1) == 2).all()


def test_the_best_inputs_of_a_sparse_layer_are_found():
    x = torch.randn(200, 6) * torch.tensor([1, 1, 1, 1, 1, 0.01])
    y = x @ torch.tensor([[0, 2.0, 0, 0, -1.0, 3.0], [1.0, 0, 0, 0.5, 0, 0]]).T + 4
    layer = stitching_layer("sparse", torch.Size((1, 6)), torch.Size((1, 2)), 2)
    fit_layer(layer, zip(x.split(50), y.split(50), strict=True), ridge=0.0)
    assert layer.mask.nonzero().tolist() == [[0, 1], [0, 4], [1, 0], [1, 3]]
    assert torch.allclose(layer(x), y, atol=0.2)
    assert torch.allclose(layer.matrix()[1], torch.tensor([1.0, 0, 0, 0.5, 0, 0]), atol=1e-4)


def test_pairs_that_cannot_be_stitched_are_errors_and_not_the_end(copied):
    images = copied.where("model == 'nnray.models.SimpleCNN'") | copied.where("seed == 0")
    result = images.stitching("flatten", stages="identity", n=20, fit_n=20)
    assert result["error"].dropna().str.contains("the identity leads to no other number of channels").all()
    assert result["error"].notna().any()
    assert result["error"].isna().any()
    lost = copied.store / "trials" / copied[0].trial / "checkpoints/epoch=0001.safetensors"
    lost.unlink()
    result = copied.stitching("flatten", stages="random", n=20, fit_n=20)
    assert len(result.errors) == 2 * (len(copied) - 1)
    assert result.errors["error"].str.contains(f"no checkpoint {lost}", regex=False).all()
    assert len(pd.read_parquet(Path(result.attrs["folder"]) / "errors.parquet")) == 2 * (len(copied) - 1)


def test_pairs_of_the_same_few_networks_come_after_each_other():
    networks = [analysis.Network(Path(), f"{number:016x}", 0) for number in range(9)]
    pairs = _in_blocks(list(itertools.permutations(networks, 2)))
    assert sorted(map(str, pairs)) == sorted(map(str, itertools.permutations(networks, 2)))
    assert len({network for pair in pairs[:12] for network in pair}) == 4
    assert len({network for pair in pairs[12:28] for network in pair}) == 8
