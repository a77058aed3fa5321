"""Weight space: permutations that change nothing, distances, lines between networks."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from analysis.jobs.connectivity import connectivity
from analysis.stimuli import make_stimuli
from analysis.weights import gather_statistics, interpolated, permutable_axes, permuted, weight_matching
from analysis.weights.permutable_axes import FIXED, Groups, Segment
from nnray import models
from nnray.errors import AnalysisError
from nnray.graph import GraphModule

NETWORKS = {
    "mlp": (lambda: models.MLP(width=8, in_channels=3, image_size=32), 2),
    "cnn": (lambda: models.SimpleCNN(width=4, in_channels=3), 2),
    "resnet": (lambda: models.ResNet(depth=14, width=4), 9),
    "densenet": (lambda: models.DenseNet(depth=10, growth_rate=4), 9),
    "wide resnet": (lambda: models.WideResNet(depth=10, widen_factor=1), None),
    "vgg": (lambda: models.VGG(depth=11), None),
    "vit": (lambda: models.ViT(width=16, depth=2, heads=2, patch_size=8), 3),
    "mixer": (lambda: models.MLPMixer(width=16, depth=2, patch_size=8, token_hidden=8, channel_hidden=12), 4),
    "traced mobilenet": (lambda: GraphModule.trace(torchvision.models.mobilenet_v2(width_mult=0.1)), None),
    "traced resnet": (lambda: GraphModule.trace(torchvision.models.resnet18()), 12),
}


def network(make, seed: int = 0) -> GraphModule:
    """Statistics and scales differ between units, so that nothing stays the same by chance."""
    torch.manual_seed(seed)
    model = make().eval()
    for tensor in [*model.buffers(), *(parameter.data for parameter in model.parameters() if parameter.ndim == 1)]:
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_permutation_of_units_changes_weights_and_not_the_function(name):
    make, groups = NETWORKS[name]
    model = network(make)
    images = torch.randn(2, 3, 32, 32)
    where = permutable_axes(model, images)
    assert len(where.sizes) == groups if groups is not None else where.sizes
    permutations = {group: torch.randperm(size) for group, size in where.sizes.items()}
    moved = permuted(model.state_dict(), where, permutations)
    assert any(not torch.equal(moved[key], value) for key, value in model.state_dict().items())
    other = copy.deepcopy(model)
    other.load_state_dict(moved)
    torch.testing.assert_close(other(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit", "mixer"])
def test_matching_undoes_a_permutation(name):
    model = network(NETWORKS[name][0])
    where = permutable_axes(model, torch.randn(1, 3, 32, 32))
    state = model.state_dict()
    moved = permuted(state, where, {group: torch.randperm(size) for group, size in where.sizes.items()})
    back = permuted(moved, where, weight_matching(state, moved, where))
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_what_is_not_known_stays():
    """A function that looks at the order of units."""
    layers = {"one": nn.Linear(5, 6), "cumsum": lambda x: x.cumsum(1), "two": nn.Linear(6, 4), "three": nn.Linear(4, 2)}
    where = permutable_axes(GraphModule(layers), torch.randn(1, 5))
    assert set(where.axes) == {"two.weight", "two.bias", "three.weight"}
    assert list(where.sizes.values()) == [4]


def test_a_module_used_twice_has_one_set_of_units():
    shared = nn.Linear(6, 6)
    model = GraphModule({"a": nn.Linear(5, 6), "b": shared, "c": shared, "d": nn.Linear(6, 2)}).eval()
    images = torch.randn(3, 5)
    where = permutable_axes(model, images)
    assert list(where.sizes.values()) == [6]
    other = copy.deepcopy(model)
    other.load_state_dict(permuted(model.state_dict(), where, {group: torch.randperm(6) for group in where.sizes}))
    torch.testing.assert_close(other(images), model(images))


def test_groups_that_overlap_are_split():
    groups = Groups()
    (small,), (large,) = groups.new(2), groups.new(5)
    groups.unify((small, Segment(FIXED, 3)), (large,))
    assert groups.resolved((large,))[0] == Segment(small.group, 2)
    assert groups.resolved((large,))[1:] == (Segment(FIXED, 3),)


def test_the_line_between_networks(copied):
    nets = copied.where("model == 'nnray.models.MLP'")
    result = connectivity(nets, points=5, n=100, fit_n=50)
    assert len(result) == 2 * 5
    first, second = nets[0].load(), nets[1].load()
    if result["trial_a"][0] != nets[0].trial:
        first, second = second, first
    stimuli = make_stimuli(nets, "test", 100)
    images, labels = torch.tensor(stimuli.images), torch.tensor(stimuli.labels).long()
    middle = copy.deepcopy(first)
    middle.load_state_dict(interpolated(first.state_dict(), second.state_dict(), 0.5))
    lines = result.set_index(["align", "alpha"])
    with torch.no_grad():
        for share, model in ((0.0, first), (0.5, middle), (1.0, second)):
            outputs = model(images)
            row = lines.loc["none", share]
            assert row["loss"] == pytest.approx(float(F.cross_entropy(outputs, labels)), rel=1e-5)
            assert row["accuracy"] == pytest.approx(float((outputs.argmax(1) == labels).float().mean()))
    for share in (0.0, 1.0):  # a permutation leaves the ends as they are
        assert lines.loc["weights", share]["loss"] == pytest.approx(lines.loc["none", share]["loss"], rel=1e-5)
    barriers = result.barriers().set_index("align")
    assert barriers["barrier"]["weights"] < barriers["barrier"]["none"]
    assert (barriers[["barrier", "accuracy_barrier"]] >= -1e-9).all(axis=None)


def test_a_network_and_its_permuted_self_are_connected_once_aligned():
    model = network(lambda: models.SimpleCNN(width=4, in_channels=3))
    where = permutable_axes(model, torch.randn(1, 3, 32, 32))
    moved = permuted(model.state_dict(), where, {group: torch.randperm(size) for group, size in where.sizes.items()})
    back = permuted(moved, where, weight_matching(model.state_dict(), moved, where))
    between = interpolated(model.state_dict(), back, 0.5)
    assert all(torch.equal(between[key], value) for key, value in model.state_dict().items())


def test_lines_are_kept_and_networks_of_other_architectures_are_errors(copied, monkeypatch):
    result = connectivity(copied, points=2, n=50, fit_n=50, align="weights", name="lines")
    assert len(result) == 2 * 2
    assert len(result.errors) == 4
    assert result.errors["error"].str.contains("the networks differ in their architecture").all()
    table = pd.read_parquet(copied.store / "analysis/lines/result.parquet")
    assert list(table.columns)[:6] == ["trial_a", "epoch_a", "trial_b", "epoch_b", "align", "alpha"]
    cnns = copied.where("model == 'nnray.models.SimpleCNN'")
    monkeypatch.setattr("analysis.jobs.connectivity.make_path_work", lambda *_: pytest.fail("computed again"))
    again = connectivity(cnns, points=2, n=50, fit_n=50, align="weights", name="lines")
    assert len(again) == 2


def test_batch_normalisation_has_the_statistics_of_the_images():
    model = GraphModule({"norm": nn.BatchNorm2d(3)}).eval()
    images = torch.randn(64, 3, 4, 4) * 5 + 2
    gather_statistics(model, images.split(16))
    norm = model.norm
    torch.testing.assert_close(norm.running_mean, images.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, images.var((0, 2, 3)), rtol=0.05, atol=0)
    assert not norm.training
    assert norm.momentum == 0.1


@pytest.mark.parametrize("kind", ["l2", "relative", "cosine"])
def test_distances_of_weights(copied, kind):
    nets = copied.epochs("all").where("model == 'nnray.models.SimpleCNN'")
    result = nets.weight_distances(kind)
    weights = {
        (network.trial, network.epoch): {
            name: value.detach().numpy().ravel().astype(np.float64) for name, value in network.load().named_parameters()
        }
        for network in nets
    }
    for row in result.itertuples():
        assert row.layer_a == row.layer_b
        sides = []
        for end in ((row.trial_a, row.epoch_a), (row.trial_b, row.epoch_b)):
            own = [value for name, value in weights[end].items() if row.layer_a in ("*", name.rpartition(".")[0])]
            sides.append(np.concatenate(own))
        a, b = sides
        expected = {
            "l2": np.linalg.norm(a - b),
            "relative": np.linalg.norm(a - b) / np.linalg.norm(a),
            "cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b),
        }[kind]
        assert row.value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert "*" in set(result["layer_a"])


def test_how_far_training_has_gone(copied):
    moved = copied.epochs("all").weight_distances(against=copied.epochs([0]), same="trial")
    whole = moved[moved["layer_a"] == "*"]
    assert len(whole) == 8
    assert (whole["value"] > 0).tolist() == (whole["epoch_b"] > 0).tolist()


def test_errors_are_those_of_the_networks_that_are_asked_for(copied):
    together = copied.weight_distances()
    assert together.errors["error"].str.contains("one network has").any()
    alone = copied.where("model == 'nnray.models.MLP'").weight_distances()
    assert alone.attrs["folder"] == together.attrs["folder"]
    assert alone.errors.empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda nets: nets.weight_distances("l3"), "kind is 'l3', where one of l2, relative, cosine"),
        (lambda nets: nets.connectivity(align="weight"), "align: there is no 'weight'; did you mean 'weights'"),
        (lambda nets: nets.connectivity(points=1), "points is 1"),
        (lambda nets: nets[:1].connectivity(), "there are no pairs"),
        (lambda nets: nets.connectivity(data=np.zeros((9, 1, 8, 8), np.float32)), "the images have none"),
        (lambda nets: nets.ntk_alignment(n=1), "1 images are too few"),
        (lambda nets: nets.ntk_alignment(n=20, memory=1000), "don't fit the memory: lower n or sketch="),
    ],
)
def test_refuses(networks, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(networks)
