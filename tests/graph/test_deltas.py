"""What differs from a base is stored, and together with the base gives the same bits again."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, merge, stitch
from nnray.models import SimpleCNN


def cnn(seed, width=4):
    torch.manual_seed(seed)
    return SimpleCNN(width=width, in_channels=1, batch_norm=True)


def same_bits(first, second):
    return all(
        torch.equal(first[name].reshape(-1).view(torch.uint8), second[name].reshape(-1).view(torch.uint8))
        for name in first
    )


def test_a_delta_has_what_changed_and_nothing_else():
    base, model = cnn(0), cnn(0)
    assert model.delta_state_dict(base) == {}
    with torch.no_grad():
        model.linear.bias[0] += 1
    delta = model.delta_state_dict(base)
    assert list(delta) == ["linear.bias"]
    assert torch.equal(delta["linear.bias"], model.linear.bias)
    assert list(model.delta_state_dict(base.state_dict())) == ["linear.bias"]


def test_bits_count_not_values():
    base, model = cnn(0), cnn(0)
    with torch.no_grad():
        base.linear.bias.fill_(0.0)
        model.linear.bias.fill_(-0.0)
        base.linear.weight.fill_(float("nan"))
        model.linear.weight.fill_(float("nan"))
    assert list(model.delta_state_dict(base)) == ["linear.bias"]


def test_another_type_or_shape_is_a_difference():
    base = cnn(0)
    model = cnn(0)
    model.linear.double()
    assert list(model.delta_state_dict(base)) == ["linear.weight", "linear.bias"]
    assert "block2.conv.weight" in cnn(0, width=6).delta_state_dict(base)


def test_a_stitched_network_is_its_stitching_layer(tmp_path):
    a, b = cnn(0), cnn(1, width=6)
    example = torch.zeros(1, 1, 8, 8)
    stitched = stitch(a, "block1.pool", b, "block1.pool", example=example)
    base = {"a": a, "b": b}
    delta = stitched.delta_state_dict(base)
    assert list(delta) == ["via.weight", "via.bias"]
    save_file(delta, tmp_path / "delta.safetensors")
    again = stitch(a, "block1.pool", b, "block1.pool", example=example)
    assert not same_bits(again.state_dict(), stitched.state_dict())
    loaded = again.load_delta_state_dict(load_file(tmp_path / "delta.safetensors"), base)
    assert same_bits(loaded.state_dict(), stitched.state_dict())


def test_loading_changes_neither_the_model_nor_the_base():
    base = cnn(0)
    model = base.rename({})  # shares the base's parameters
    delta = {"linear.bias": torch.ones(10)}
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    loaded = model.load_delta_state_dict(delta, base)
    assert same_bits(base.state_dict(), before)
    assert torch.equal(loaded.linear.bias, torch.ones(10))
    assert loaded.linear.bias is not delta["linear.bias"]


def test_shared_weights_can_be_stored(tmp_path):
    shared = nn.Linear(2, 2)
    model = GraphModule({"a": shared, "b": shared})
    delta = model.delta_state_dict({})
    save_file(delta, tmp_path / "delta.safetensors")
    loaded = GraphModule({"a": shared, "b": shared}).load_delta_state_dict(delta, {})
    assert loaded.a is loaded.b
    assert torch.equal(loaded.a.weight, shared.weight)


def test_merged_models_differ_from_their_parts_by_nothing():
    a, b = cnn(0), cnn(1)
    assert merge({"a": a, "b": b}).delta_state_dict({"a": a, "b": b}) == {}


MISTAKES = {
    "unknown entry": ({"linear.bais": torch.zeros(10)}, cnn(0), "has 'linear.bais', which.*did you mean 'linear.bias'"),
    "missing entry": ({}, {"linear.bias": torch.zeros(10)}, r"'block1.conv.weight' is neither in the delta nor in its"),
    "shape in the delta": (
        {"linear.bias": torch.zeros(3)},
        cnn(0),
        r"'linear.bias' has the shape \(10,\).*\(3,\) in the d",
    ),
    "shape in the base": ({}, cnn(0, width=6), r"has the shape \(4, 1, 3, 3\).*\(6, 1, 3, 3\) in the base"),
}


@pytest.mark.parametrize(("delta", "base", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_is_refused(delta, base, message):
    with pytest.raises(GraphError, match=message):
        cnn(0).load_delta_state_dict(delta, base)
