"""torchvision's classification models as graphs: named outputs equal an eager run, in-place operations and all."""

import random

import pytest
import torch
import torchvision
from tracing_reference import OnMeta, eager_values, torchvision_model

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.operations import Part

EVERY_MODEL = torchvision.models.list_models(module=torchvision.models)
RUN = {  # name: image size
    **dict.fromkeys(["alexnet", "vgg11"], 64),
    **dict.fromkeys(["squeezenet1_0", "squeezenet1_1", "googlenet"], 64),
    "inception_v3": 75,
    **dict.fromkeys(["resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2"], 64),
    **dict.fromkeys(["densenet121", "densenet161", "densenet169", "densenet201"], 64),
    **dict.fromkeys(["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"], 64),
    **dict.fromkeys(["mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"], 64),
    **dict.fromkeys([f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")], 64),
    **dict.fromkeys(["efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_v2_s"], 64),
    **dict.fromkeys([f"regnet_{kind}_{size}" for kind in "xy" for size in ("400mf", "800mf", "1_6gf")], 64),
    **dict.fromkeys(["convnext_tiny", "swin_t", "swin_v2_t"], 64),
    "vit_b_16": 32,
    "small MaxVit": 64,
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", RUN)
def test_every_value_is_that_of_an_eager_run_that_clones(name):
    torch.manual_seed(0)
    options = {"image_size": RUN[name]} if name.startswith("vit") else {}
    module = torchvision_model(name, num_classes=10, **options).eval()
    keys = list(module.state_dict())
    model = GraphModule.trace(module)
    assert list(model.state_dict()) == keys
    assert all(mine is theirs for mine, theirs in zip(model.parameters(), module.parameters(), strict=True))
    x = torch.randn(1, 3, RUN[name], RUN[name])
    with torch.no_grad():
        output, expected = eager_values(module, x)
        values = model(x, outputs="*")
        assert torch.equal(model(x), output)
        assert torch.equal(values[model.names[-1]], output)

        leaves = {child for child, owner in module.named_modules() if child and not any(owner.children())}
        called = {key for key in expected if key in leaves}
        inside = {key for key in called if any(key.startswith(f"{layer}.") for layer in model.names)}
        assert called - inside <= values.keys()
        for key in values.keys() & expected.keys():
            assert torch.equal(values[key], expected[key]), key

        parts_apart = [
            node.name for node in model.nodes if node.name in values and not isinstance(node.operation, Part)
        ]
        for layer in random.Random(name).sample(parts_apart, 4):
            assert torch.equal(model({"input": x, layer: values[layer]}), output), layer
            alone = model(x, outputs=[layer])[layer]
            if isinstance(alone, torch.Tensor):
                assert torch.equal(alone, values[layer]), layer


@pytest.mark.parametrize("name", sorted(set(EVERY_MODEL) - RUN.keys()))
def test_the_others_trace_too(name):
    with OnMeta():
        module = torchvision_model(name).eval()
    model = GraphModule.trace(module)
    assert list(model.state_dict()) == list(module.state_dict())
    assert model.names[-1].rpartition(".")[0] in dict(module.named_modules())


def test_names_of_a_resnet():
    with OnMeta():
        model = GraphModule.trace(torchvision.models.resnet18())
    block = ["conv1", "bn1", "relu", "conv2", "bn2", "add", "relu_1"]
    assert list(model.names[:18]) == [
        *("conv1", "bn1", "relu", "maxpool"),
        *(f"layer1.{index}.{layer}" for index in (0, 1) for layer in block),
    ]
    assert list(model.names[-3:]) == ["avgpool", "flatten", "fc"]
    assert model.inputs == ("input",)
    nodes = {node.name: node for node in model.nodes}
    assert nodes["layer1.0.relu"].operation is nodes["layer1.0.relu_1"].operation


def test_names_of_a_vision_transformer():
    with OnMeta():
        model = GraphModule.trace(torchvision.models.vit_b_16())
    layer = "encoder.layers.encoder_layer_3"
    assert {
        "class_token",
        "encoder.pos_embedding",
        f"{layer}.self_attention.0",
        f"{layer}.mlp.1",
        f"{layer}.add_1",
    } <= {*model.names}
    assert "class_token" in dict(model.named_parameters())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_outputs_are_there_in_training_mode_alone(name):
    module = torchvision_model(name, num_classes=10, aux_logits=True)
    size = 299 if name == "inception_v3" else 64
    x = torch.randn(2, 3, size, size)
    training = GraphModule.trace(module.train())
    torch.manual_seed(0)
    expected = module(x)
    torch.manual_seed(0)
    output = training(x)
    assert type(output) is type(expected)
    for field in expected._fields:
        assert torch.equal(getattr(output, field), getattr(expected, field))
    assert training(x, outputs="output.logits").keys() == {"output.logits"}
    with pytest.raises(GraphError, match=r"traced in training mode.*trace the module again after module\.eval\(\)"):
        training.eval()
    evaluation = GraphModule.trace(module.eval())
    assert torch.equal(evaluation(x), module(x))
    with pytest.raises(GraphError, match=r"traced in evaluation mode.*module\.train\(\)"):
        evaluation.train()
    assert evaluation.eval() is evaluation


def test_checkpoints_of_the_module_load():
    module = torchvision.models.mobilenet_v3_small(num_classes=10).eval()
    other = torchvision.models.mobilenet_v3_small(num_classes=10)
    model = GraphModule.trace(other).eval()
    model.load_state_dict(module.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(x), module(x))
    other.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t"])
def test_training_is_that_of_the_module(name):
    module = torchvision_model(name, num_classes=10).train()
    model = GraphModule.trace(module, copy=True)
    x = torch.randn(2, 3, 64, 64)
    for network in (module, model):
        torch.manual_seed(0)
        network(x).square().mean().backward()
    for (key, mine), theirs in zip(model.named_parameters(), module.parameters(), strict=True):
        assert mine is not theirs
        torch.testing.assert_close(mine.grad, theirs.grad, msg=key)
    for (key, mine), theirs in zip(model.named_buffers(), module.buffers(), strict=True):
        assert torch.equal(mine, theirs), key
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model.eval()(x), module.eval()(x))
