"""Convolutions take over the batch normalisation behind them, wherever that changes no value."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.operations import Call, Input
from nnray.models import ResNet, ResNet9


def awaken(model, x):
    """Give the normalisations statistics and weights that are not those of the identity, and set evaluation mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.train()(x)
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def norms(model):
    return sum(isinstance(node.operation, nn.modules.batchnorm._NormBase) for node in model.nodes)


@pytest.mark.parametrize("make", [lambda: ResNet(8, width=4), lambda: ResNet9(width=4)], ids=["ResNet", "ResNet9"])
def test_names_that_remain_stand_for_the_same_values(make, x):
    model = awaken(make().double(), x.double())
    fused = model.fuse_conv_bn()
    assert norms(model) > 0 == norms(fused)
    values = model(x.double(), outputs="*")
    torch.testing.assert_close(fused(x.double(), outputs="*"), {name: values[name] for name in fused.names})
    assert sorted(set(model.names) - set(fused.names)) == sorted(
        node.name for node in model.nodes if isinstance(node.operation, nn.Conv2d)
    )
    assert not fused.training


CONVOLUTIONS = {
    "module": nn.Conv2d(3, 4, 3, stride=2),
    "module without bias": nn.Conv2d(3, 4, 3, bias=False),
    "module in groups": nn.Conv2d(3, 6, 3, groups=3, padding_mode="circular", padding=1),
}
WEIGHT, BIAS = torch.randn(4, 3, 3, 3), torch.randn(4)
FUNCTIONS = {
    "function": (F.conv2d, ["input", "weight", "bias"]),
    "function without bias": (F.conv2d, ["input", "weight"]),
    "call": (Call(F.conv2d, Input(0), Input(1), Input(2), 2, padding=1), ["input", "weight", "bias"]),
    "call by name": (Call(F.conv2d, Input(0), bias=Input(2), weight=Input(1)), ["input", "weight", "bias"]),
}


@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_modules_are_fused(convolution, affine, x):
    norm = nn.BatchNorm2d(convolution.out_channels, affine=affine)
    model = awaken(GraphModule({"conv": convolution, "bn": norm}), x)
    fused = model.fuse_conv_bn()
    assert fused.names == ("bn",)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_fused(layer, x):
    parameters = {"weight": nn.Parameter(WEIGHT), "bias": nn.Parameter(BIAS)}
    model = awaken(GraphModule(parameters | {"conv": layer, "bn": nn.BatchNorm2d(4)}), x).prune()
    fused = model.fuse_conv_bn()
    assert fused.names == ("bn",)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_signals_and_volumes(dimensions):
    convolution = {1: nn.Conv1d, 3: nn.Conv3d}[dimensions](2, 3, 3)
    norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dimensions](3)
    y = torch.randn(4, 2, *[5] * dimensions)
    model = awaken(GraphModule({"conv": convolution, "bn": norm}), y)
    fused = model.fuse_conv_bn()
    assert fused.names == ("bn",)
    torch.testing.assert_close(fused(y), model(y), rtol=1e-4, atol=1e-5)


def conv():
    return nn.Conv2d(3, 3, 3, padding=1)


def hooked():
    module = conv()
    module.register_forward_hook(lambda module, inputs, output: None)
    return module


def shared_module():
    shared = conv()
    return {"a": shared, "a_bn": nn.BatchNorm2d(3), "b": shared, "b_bn": nn.BatchNorm2d(3)}


def shared_norm():
    shared = nn.BatchNorm2d(3)
    return {"a": conv(), "a_bn": shared, "b": conv(), "b_bn": shared}


def shared_weight():
    first, second = conv(), conv()
    second.weight = first.weight
    return {"a": first, "a_bn": nn.BatchNorm2d(3), "b": second}


LEFT_ALONE = {
    "shared convolution": shared_module,
    "shared normalisation": shared_norm,
    "shared weight": shared_weight,
    "shared weight of functions": lambda: {
        "weight": nn.Parameter(torch.randn(3, 3, 1, 1)),
        "a": (F.conv2d, ["input", "weight"]),
        "a_bn": nn.BatchNorm2d(3),
        "b": (F.conv2d, ["a_bn", "weight"]),
        "b_bn": nn.BatchNorm2d(3),
    },
    "not adjacent": lambda: {"conv": conv(), "relu": nn.ReLU(), "bn": nn.BatchNorm2d(3)},
    "normalisation first": lambda: {"bn": nn.BatchNorm2d(3), "conv": conv()},
    "another reader": lambda: {"conv": conv(), "bn": nn.BatchNorm2d(3), "add": (torch.add, ["conv", "bn"])},
    "computed weight": lambda: {
        "weight": nn.Parameter(torch.randn(3, 3, 1, 1)),
        "tanh": (torch.tanh, "weight"),
        "conv": (F.conv2d, ["input", "tanh"]),
        "bn": nn.BatchNorm2d(3),
    },
    "hook": lambda: {"conv": hooked(), "bn": nn.BatchNorm2d(3)},
    "parametrization": lambda: {"conv": nn.utils.parametrizations.weight_norm(conv()), "bn": nn.BatchNorm2d(3)},
    "no running statistics": lambda: {"conv": conv(), "bn": nn.BatchNorm2d(3, track_running_stats=False)},
    "another normalisation": lambda: {"conv": conv(), "norm": nn.GroupNorm(3, 3)},
}


@pytest.mark.parametrize("architecture", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_others_see_is_left_alone(architecture, x):
    model = GraphModule(architecture()).eval()
    fused = model.fuse_conv_bn()
    assert [(node.name, node.inputs) for node in fused.nodes] == [(node.name, node.inputs) for node in model.nodes]
    assert norms(fused) == norms(model)


def test_an_output_is_left_alone(x):
    model = awaken(GraphModule({"conv": conv(), "bn": nn.BatchNorm2d(3)}), x).prune(["conv", "bn"])
    assert model.fuse_conv_bn().names == model.names


def test_the_model_stays_as_it_is(x):
    model = awaken(ResNet(8, width=4), x)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused = model.fuse_conv_bn()
    with torch.no_grad():
        for parameter in fused.stem.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert fused.linear is model.linear
    assert model.fuse_conv_bn(copy=True).linear is not model.linear


def test_training_mode_is_refused():
    with pytest.raises(GraphError, match=r"'stem\.bn' cannot be fused in training mode.*call eval\(\) first"):
        ResNet(8, width=4).fuse_conv_bn()
