"""Networks as a lazy table, and as graphs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import analysis
import nnray
from analysis.loading import Loader, load_network
from nnray.errors import AnalysisError, GraphError, StoreError
from nnray.graph import GraphModule


def test_a_row_is_a_trial_after_its_last_epoch(networks):
    trials = nnray.open(networks.store).trials("small")
    assert [(network.trial, network.epoch) for network in networks] == [(trial, 1) for trial in trials["trial"]]
    assert networks.frame["val_acc"].tolist() == trials["val_acc"].tolist()
    assert "Networks" in repr(networks)
    assert len(networks) == 4


def test_metrics_are_those_of_the_epoch(networks):
    metrics = nnray.open(networks.store).metrics("small").set_index(["trial", "epoch"])["val_acc"]
    every = networks.epochs("all")
    assert len(every) == 8
    for row in every.frame.itertuples():
        assert row.val_acc == metrics[row.trial, row.epoch]


def test_the_best_epoch_is_that_of_the_sweeps_metric(networks):
    metrics = nnray.open(networks.store).metrics("small")
    best = metrics.groupby("trial")["val_acc"].max()
    assert [row.val_acc for row in networks.epochs("best").frame.itertuples()] == best[networks.frame["trial"]].tolist()


def test_choosing_keeps_order_and_reaches_all_epochs_again(networks):
    wide = networks.where("model == 'nnray.models.MLP'")
    assert len(wide) == 2
    by_accuracy = networks.sort("val_acc", descending=True)
    assert by_accuracy.frame["val_acc"].is_monotonic_decreasing
    assert [network.trial for network in by_accuracy.epochs([0])] == [network.trial for network in by_accuracy]
    assert len(wide.epochs("all")) == 4
    groups = dict(networks.groupby("seed"))
    assert sorted(groups) == [0, 1]
    assert {len(group) for group in groups.values()} == {2}
    assert {key for key, _ in networks.groupby(["seed", "epoch"])} == {(0, 1), (1, 1)}
    assert networks.epochs(0).frame["epoch"].unique().tolist() == [0]
    assert [network.trial for network in networks[1:3]] == [networks[1].trial, networks[2].trial]
    assert networks[-1].trial == list(networks)[-1].trial


def test_nothing_but_parquet_is_read_before_a_network_is_loaded(trained, tmp_path):
    shutil.copytree(trained / "tables", tmp_path / "tables")
    networks = analysis.open(tmp_path).where("val_acc > 0").sort("val_acc").epochs("all")
    assert len(networks) == 8
    with pytest.raises(StoreError, match=r"config\.yaml|no checkpoint|there is no"):
        networks[0].load()


def test_trials_can_be_named_one_by_one(networks):
    chosen = analysis.open(networks.store, [networks[2].trial, networks[0].trial])
    assert {network.trial for network in chosen} == {networks[0].trial, networks[2].trial}
    assert len(analysis.open(networks.store, ["small", networks[2].trial])) == 4


def test_a_loaded_network_is_the_stores(networks):
    images = torch.randn(3, 1, 8, 8)
    for network in networks:
        model = network.load()
        assert isinstance(model, GraphModule)
        assert not model.training
        expected = nnray.open(networks.store).load(network.trial, network.epoch)(images)
        assert torch.equal(model(images), expected)


def test_a_part_of_a_network_reads_no_more_than_it_needs(networks, tmp_path):
    """What lies behind is lost on disk, and nobody notices."""
    from safetensors.torch import load_file, save_file

    network = networks[0]
    shutil.copytree(networks.store / "trials" / network.trial, tmp_path / "trials" / network.trial)
    path = tmp_path / "trials" / network.trial / "checkpoints" / f"epoch={network.epoch:04d}.safetensors"
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if name.startswith("block1")}, path)
    part = load_network(tmp_path, network.trial, network.epoch, "block1.relu")
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(part(images), network.load()(images, outputs="block1.relu")["block1.relu"])
    with pytest.raises(StoreError, match="doesn't fit its model of today: it has no tensor"):
        load_network(tmp_path, network.trial, network.epoch)


def test_networks_of_one_architecture_do_not_share_weights(networks):
    same = networks.where("model == 'nnray.models.SimpleCNN'")
    one, other = same[0].load(), same[1].load()
    images = torch.randn(3, 1, 8, 8)
    assert not torch.equal(one(images), other(images))
    assert torch.equal(one(images), same[0].load()(images))


def test_a_loader_keeps_the_last_few(networks):
    loader = Loader(networks.store, torch.device("cpu"), keep=2)
    first, *others = [loader.load(network.trial, network.epoch) for network in networks[:3]]
    assert loader.load(networks[2].trial, 1) is others[-1]
    assert loader.load(networks[0].trial, 1) is not first


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda nets: analysis.open(nets.store, "smal"), StoreError, r"no sweep or trial 'smal'.*did you mean 'small'"),
        (lambda nets: nets.where("val_ac > 0"), StoreError, r"val_ac.*did you mean"),
        (lambda nets: nets.epochs([7]), AnalysisError, r"no trial keeps weights of epoch 7; there is: 0 \.\.\. 1"),
        (lambda nets: nets.epochs("first"), AnalysisError, "'first' is none of 'last', 'best', 'all'"),
        (lambda nets: load_network(nets.store, nets[0].trial, 1, "block1.rel"), GraphError, r"block1\.relu"),
        (lambda nets: load_network(nets.store, nets[0].trial, 5), StoreError, "no checkpoint"),
    ],
)
def test_refuses(networks, call, error, message):
    with pytest.raises(error, match=message):
        call(networks)


def test_a_damaged_checkpoint_is_named(networks, tmp_path: Path):
    network = networks[0]
    shutil.copytree(networks.store / "trials" / network.trial, tmp_path / "trials" / network.trial)
    path = tmp_path / "trials" / network.trial / "checkpoints" / f"epoch={network.epoch:04d}.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match="is damaged"):
        load_network(tmp_path, network.trial, network.epoch)


def test_an_empty_table_is_an_empty_table(networks):
    empty = networks.where("val_acc > 2")
    assert len(empty) == 0
    assert isinstance(empty.frame, pd.DataFrame)
    with pytest.raises(AnalysisError, match="there are no networks"):
        empty.cka()
