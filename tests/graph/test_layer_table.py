"""The table of layers: shapes as in a real run, multiply-adds as by formulas, and nothing computed or changed."""

import copy
import math

import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.models import (
    MLP,
    VGG,
    DenseNet,
    ImageNetResNet,
    MLPMixer,
    ResNet,
    ResNet9,
    SimpleCNN,
    Tiny10,
    ViT,
    WideResNet,
)

MODELS = {
    "ResNet": lambda: ResNet(8, width=4),
    "ResNet9": lambda: ResNet9(width=4),
    "SimpleCNN": lambda: SimpleCNN(width=4),
    "MLP": lambda: MLP(width=8),
    "ImageNetResNet": lambda: ImageNetResNet(50, width=4),
    "WideResNet": lambda: WideResNet(10, 1, dropout=0.5),
    "VGG": lambda: VGG(11, width=4, hidden=8),
    "Tiny10": lambda: Tiny10(width=4),
    "DenseNet": lambda: DenseNet(10, growth_rate=4),
    "ViT": lambda: ViT(width=8, depth=2, heads=2),
    "MLPMixer": lambda: MLPMixer(width=8, depth=2),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    torch.manual_seed(0)
    return request.param()


def by_formula(operation, output):
    """Return the multiply-adds of a layer for a batch, as a textbook has them."""
    if isinstance(operation, nn.Conv2d):
        return output.numel() * operation.weight[0].numel()
    if isinstance(operation, nn.Linear):
        return output.numel() * operation.in_features
    if type(operation).__name__ == "SelfAttention":
        batch, tokens, width = output.shape
        return 2 * batch * tokens**2 * width  # queries by keys, and weights by values
    return 0


@torch.no_grad()
def test_shapes_parameters_and_multiply_adds_are_those_of_a_real_run(model):
    x = torch.randn(3, *model.example_shape)
    model.eval()
    table = model.layers()
    values = model(x, outputs="*") | {"input": x}
    assert list(table["name"]) == list(model.names)
    assert list(table["inputs"]) == [node.inputs for node in model.nodes]
    assert dict(zip(table["name"], table["output_shape"], strict=True)) == {
        name: tuple(values[name].shape[1:]) for name in model.names
    }
    assert table["parameters"].sum() == sum(parameter.numel() for parameter in model.parameters())
    formula = [by_formula(node.operation, values[node.name]) // 3 for node in model.nodes]
    assert list(table["multiply_adds"]) == formula
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert table["multiply_adds"].sum() == counter.get_total_flops() // 2 // 3


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_nothing_is_changed(model, training):
    model.train(training)
    before, parameters = copy.deepcopy(model), [id(parameter) for parameter in model.parameters()]
    generator = torch.get_rng_state()
    table = model.layers()
    pd.testing.assert_frame_equal(model.layers(), table)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())


def test_nothing_is_computed():
    model = ResNet(8)
    table = model.layers(example=(3, 100_000, 100_000))  # 1.3 TB for the first layer alone
    assert table["output_shape"].iloc[0] == (16, 100_000, 100_000)
    assert table["multiply_adds"].iloc[0] == 3 * 9 * 16 * 10**10


PUBLISHED = {
    "resnet18": (lambda: ImageNetResNet(18), torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": (lambda: ImageNetResNet(50), torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
    "vgg16": (lambda: VGG(16, grid=7, hidden=4096, num_classes=1000), torchvision.models.VGG16_Weights.IMAGENET1K_V1),
    "vit_b_16": (
        lambda: ViT(768, 12, 12, patch_size=16, image_size=224, num_classes=1000),
        torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1,
    ),
}


@pytest.mark.parametrize(("make", "weights"), PUBLISHED.values(), ids=PUBLISHED)
def test_multiply_adds_are_those_that_torchvision_publishes(make, weights):
    with torch.device("meta"):
        model = make()
    total = model.layers(example=(3, 224, 224))["multiply_adds"].sum()
    assert round(total / 1e9, 3) == pytest.approx(weights.meta["_ops"], abs=0.001)


TRACED = ["resnet18", "vit_b_16", "swin_t", "mnasnet0_5", "mobilenet_v3_small", "squeezenet1_0"]


@pytest.mark.parametrize("name", TRACED)
def test_a_traced_model_has_the_published_parameters_and_multiply_adds(name):
    with torch.device("meta"):
        traced = GraphModule.trace(torchvision.models.get_model(name, weights=None))
    table = GraphModule.layers(traced, (3, 224, 224))  # not traced.layers: that is a submodule of MNASNet
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    assert table["parameters"].sum() == meta["num_params"]
    assert table["multiply_adds"].sum() / 1e9 == pytest.approx(meta["_ops"], abs=0.001)


def test_columns_and_their_types():
    table = MLP(width=8).layers()
    assert list(table.columns) == ["name", "operation", "inputs", "output_shape", "parameters", "multiply_adds"]
    assert list(table["operation"]) == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert table["parameters"].dtype == "int64"
    assert table["multiply_adds"].dtype == "Int64"


def test_the_example_may_be_a_tensor_a_shape_or_a_dict():
    model = GraphModule({"conv": nn.Conv2d(3, 4, 3), "mean": (torch.mean, "conv")})
    for example in [(3, 8, 8), [3, 8, 8], torch.Size([3, 8, 8]), torch.zeros(5, 3, 8, 8), {"input": (3, 8, 8)}]:
        table = model.layers(example)
        assert table["output_shape"].iloc[0] == (4, 6, 6)
        assert table["multiply_adds"].iloc[0] == 4 * 27 * 36


def test_two_inputs():
    model = GraphModule({"left": (nn.Linear(3, 4), "a"), "sum": (torch.add, ["left", "b"])}, inputs=("a", "b"))
    table = model.layers({"a": (3,), "b": torch.zeros(2, 4)})
    assert list(table["output_shape"]) == [(4,), (4,)]


def test_without_an_example_the_rest_of_the_table_is_there():
    model = GraphModule({"linear": nn.Linear(3, 4)})
    table = model.layers()
    assert table["output_shape"].isna().all()
    assert table["multiply_adds"].isna().all()
    assert list(table["parameters"]) == [16]


def test_layers_that_return_several_tensors():
    model = GraphModule({"both": lambda x: (x, {"sum": x.sum(1)}), "lstm": (nn.LSTM(3, 5, batch_first=True), "input")})
    table = model.layers((7, 3))
    assert table["output_shape"].iloc[0] == ((7, 3), {"sum": (3,)})
    assert table["output_shape"].iloc[1] == ((7, 5), ((1, 2, 5), (1, 2, 5)))  # the states have the layers first


def test_shared_weights_count_once():
    linear = nn.Linear(3, 3)
    model = GraphModule({"first": linear, "second": linear})
    table = model.layers((3,))
    assert list(table["parameters"]) == [12, 0]
    assert list(table["multiply_adds"]) == [9, 9]


def test_a_parameter_as_a_value_has_its_own_shape():
    model = GraphModule({"token": nn.Parameter(torch.zeros(1, 4)), "sum": (torch.add, ["input", "token"])})
    table = model.layers((4,))
    assert list(table["operation"]) == ["Parameter", "add"]
    assert list(table["output_shape"]) == [(1, 4), (4,)]
    assert list(table["parameters"]) == [4, 0]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_multihead_attention_is_counted(training):
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model = GraphModule({"attention": (attention, ["input", "input", "input"])}).train(training)
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    table = model.layers((5, 8))
    assert table["multiply_adds"].sum() == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
    assert torch.backends.mha.get_fastpath_enabled() == was_enabled


MISTAKES = {
    "channels": (
        lambda: ResNet(8).layers((4, 32, 32)),
        "the layer 'stem.conv' cannot be run .*inputs of \\(4, 32, 32\\): ",
    ),
    "no size": (
        lambda: ResNet(8).layers((3, 0, 32)),
        "an example is a tensor or the shape of one such as \\(3, 32, 32\\)",
    ),
    "not a shape": (lambda: ResNet(8).layers("3,32,32"), "an example is a tensor or .* not '3,32,32' for 'input'"),
    "unknown input": (lambda: ResNet(8).layers({"x": (3, 32, 32)}), "does not give the input 'input'"),
    "one input too many": (
        lambda: ResNet(8).layers({"input": (3, 32, 32), "x": (3,)}),
        "gives 'x', which is no input: the model's inputs are 'input'",
    ),
    "values decide": (
        lambda: GraphModule({"linear": nn.Linear(3, 3), "positive": lambda x: x[x > 0]}).layers((3,)),
        "the layer 'positive' cannot be run",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_get_one_clear_line(call, message):
    with pytest.raises(GraphError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_half_precision_model_takes_a_shape():
    table = MLP(width=8).half().layers()
    assert table["multiply_adds"].sum() == math.prod((3, 32, 32, 8)) + 8 * 8 + 8 * 10
