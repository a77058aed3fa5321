"""Tracing of modules that do what networks do in Python: write in place, share modules, depend on the mode."""

import copy
import operator
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tracing_reference import assert_same, eager_values, network

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.operations import ByMode
from nnray.models import ResNet


def in_place_functions(self, x):
    y = self.conv(x)
    y += 1
    z = y.relu_()
    F.leaky_relu(z, 0.2, True)
    y.mul_(2)
    return torch.cat([z, y.add(x.mean())], 1)


def in_place_module_whose_input_is_read_later(self, x):
    y = self.conv(x)
    self.relu(y)
    return y + self.conv(self.relu(y * 2))


def same_block_twice(self, x):
    return self.block(self.block(x)) + self.block[0](x)


def parameters_and_buffers(self, x):
    return F.linear(self.conv(x).flatten(2), self.weight) * self.scale + self.conv.bias.sum()


def constants(self, x):
    return torch.where(x > 0, x, torch.tensor(2.0)) + torch.tensor([1.0, 2.0, 3.0, 4.0])


def sizes(self, x):
    n, c = x.shape[:2]
    h = x.size(-1)
    return self.conv(x).view(n, -1, h // 2, 2).permute(0, 2, 1, 3).reshape(n, c * h * x.shape[2])


def tuple_output(self, x):
    return self.conv(x), {"sum": x.sum(), "list": [x, 3]}


def input_returned(self, x):
    return x


def names_of_methods(self, x):
    return self.names(self.layers(self.inner["tanh"](x)).float()).half().float()


MODULES = {
    "in-place functions": lambda: network(in_place_functions, conv=nn.Conv2d(3, 3, 1)),
    "in-place module whose input is read later": lambda: network(
        in_place_module_whose_input_is_read_later, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True)
    ),
    "same block twice": lambda: network(
        same_block_twice, block=nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    ),
    "parameters and buffers": lambda: network(
        parameters_and_buffers,
        conv=nn.Conv2d(3, 3, 1),
        weight=nn.Parameter(torch.empty(5, 16)),
        scale=nn.Buffer(torch.full((1,), 2.0), persistent=False),
        unused=nn.Linear(2, 2),
        unused_weight=nn.Parameter(torch.empty(2)),
    ),
    "constants": lambda: network(constants),
    "sizes": lambda: network(sizes, conv=nn.Conv2d(3, 3, 1)),
    "tuple output": lambda: network(tuple_output, conv=nn.Conv2d(3, 3, 1)),
    "input returned": lambda: network(input_returned, conv=nn.Conv2d(3, 3, 1)),
    "names of methods": lambda: network(
        names_of_methods,
        layers=nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)),
        names=nn.Conv2d(3, 3, 1),
        inner=nn.ModuleDict({"tanh": nn.Tanh()}),
    ),
}


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 4, 4)], ids=["no example", "example"])
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_values_are_those_of_an_eager_run(make, example, grad):
    module = make().eval()
    model = GraphModule.trace(module, example)
    x = torch.randn(2, 3, 4, 4)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        output, expected = eager_values(module, x)
        assert_same(model(x), output)
        values = model(x, outputs="*")
        calls = expected.keys() - {"block", "block_1", "layers"}  # no layers themselves
        assert_same({name: values[name] for name in calls}, {name: expected[name] for name in calls})
        for name, value in values.items():
            assert_same(model(x, outputs=name)[name], value)
            assert_same(model({"input": x, name: value}), output)
    assert torch.equal(x, before)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_state_dicts_are_those_of_the_module_which_stays_as_it_was(make):
    module = make()
    attributes, modes = dict(module.__dict__), [child.training for child in module.modules()]
    keys = list(module.state_dict())
    model = GraphModule.trace(module)
    assert list(model.state_dict()) == keys
    assert dict(module.__dict__) == attributes
    assert [child.training for child in module.modules()] == modes
    assert all(mine is theirs for mine, theirs in zip(model.parameters(), module.parameters(), strict=True))
    apart = GraphModule.trace(module, copy=True)
    assert list(apart.state_dict()) == keys
    assert not any(mine is theirs for mine, theirs in zip(apart.parameters(), module.parameters(), strict=True))
    module.load_state_dict(apart.state_dict())


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_results_are_ordinary_modules(make):
    model = GraphModule.trace(make().eval())
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    assert_same(copy.deepcopy(model)(x), expected)
    assert_same(pickle.loads(pickle.dumps(model))(x), expected)
    assert_same(GraphModule.from_nodes(model.nodes, outputs=[model.nodes[-1].name])(x), expected)
    parameters = {name: parameter.detach() * 2 for name, parameter in model.named_parameters()}
    other = copy.deepcopy(model)
    other.load_state_dict(parameters, strict=False)
    assert_same(torch.func.functional_call(model, parameters, (x,)), other(x))


@pytest.mark.parametrize("name", ["in-place functions", "same block twice", "parameters and buffers", "sizes"])
def test_results_compile_without_graph_breaks(name):
    torch.compiler.reset()
    model = GraphModule.trace(MODULES[name]().eval())
    x = torch.randn(2, 3, 4, 4)
    assert_same(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


def test_layers_are_called_as_in_named_modules():
    model = GraphModule.trace(MODULES["same block twice"]())
    blocks = [f"block.{index}{use}" for use in ("", "_1") for index in range(3)]
    assert model.names == (*blocks, "block.0_2", "add")
    assert GraphModule.trace(MODULES["in-place functions"]()).names[:5] == ("conv", "add", "relu", "leaky_relu", "mul")


def test_a_method_steps_back_behind_a_submodule_of_its_name():
    model = GraphModule.trace(MODULES["names of methods"]())
    assert isinstance(model.names, nn.Conv2d)
    assert [name for name, _ in model.layers.named_children()] == ["0", "1"]
    assert GraphModule.names.fget(model)[-3:] == ("names", "half_1", "float_2")
    assert GraphModule.names.fget(model)[0] == "inner.tanh"
    assert GraphModule.trace(nn.Sequential(nn.ReLU())).names == ("0",)


def functional_dropout(self, x):
    return F.dropout(self.conv(x), 0.5, self.training)


def structure_by_mode(self, x):
    return self.conv(x) if self.training else self.conv(x).relu()


@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 4, 4)], ids=["no example", "example"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_functional_dropout_follows_the_mode(training, example):
    module = network(functional_dropout, conv=nn.Conv2d(3, 3, 1)).train(training)
    model = GraphModule.trace(module, example)
    assert isinstance(model.dropout, ByMode)
    x = torch.randn(2, 3, 4, 4)
    for mode in (False, True, False):
        torch.manual_seed(0)
        expected = module.train(mode)(x)
        torch.manual_seed(0)
        assert torch.equal(model.train(mode)(x), expected)


def test_code_that_depends_on_the_mode_is_bound_to_it():
    module = network(structure_by_mode, conv=nn.Conv2d(3, 3, 1))
    model = GraphModule.trace(module.eval())
    assert model.names == ("conv", "relu")
    with pytest.raises(GraphError, match=r"traced in evaluation mode and its code does something else in the other"):
        model.train()
    assert not model.conv.training
    assert GraphModule.trace(module.train()).train().names == ("conv",)


@pytest.mark.parametrize("copy", [False, True], ids=["shared", "copy"])
def test_a_graph_is_traced_to_itself(copy):
    graph = ResNet(8, width=4).eval()
    traced = GraphModule.trace(graph, copy=copy)
    assert (traced is graph) == (not copy)
    assert traced.names == graph.names
    assert traced.linear.weight is not graph.linear.weight or not copy
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(traced(x), graph(x))


def keeps_what_it_has_seen(self, x):
    self.calls += 1
    self.last = self.conv(x)
    return self.last


def test_attributes_that_the_code_sets_are_left_as_they_were():
    module = network(keeps_what_it_has_seen, conv=nn.Conv2d(3, 3, 1))
    module.calls = 0
    model = GraphModule.trace(module)
    assert module.calls == 0
    assert not hasattr(module, "last")
    assert model.names == ("conv",)


def two_inputs(self, query, key, scale=2.0, *, bias=None):
    result = self.attention(query, key, key, need_weights=False)[0] * scale
    return result if bias is None else result + bias


def test_inputs_are_the_arguments_without_defaults_or_those_of_the_example():
    module = network(two_inputs, attention=nn.MultiheadAttention(4, 2, batch_first=True)).eval()
    query, key, bias = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    model = GraphModule.trace(module)
    assert model.inputs == ("query", "key")
    assert torch.equal(model(query, key), module(query, key))
    assert model.names == ("attention", "attention.0", "mul")
    model = GraphModule.trace(module, {"query": query, "key": key, "bias": bias})
    assert model.inputs == ("query", "key", "bias")
    assert torch.equal(model(query, key, bias), module(query, key, bias=bias))


def test_examples_name_arguments_of_forward():
    module = network(two_inputs, attention=nn.MultiheadAttention(4, 2, batch_first=True))
    with pytest.raises(GraphError, match=r"^the example has 'biass', which forward does not take; did you mean 'bias'"):
        GraphModule.trace(module, {"query": torch.zeros(2, 3, 4), "key": torch.zeros(2, 3, 4), "biass": None})


def test_surgery_on_a_traced_model():
    module = MODULES["parameters and buffers"]().eval()
    model = GraphModule.trace(module)
    x = torch.randn(2, 3, 4, 4)
    tail = model.submodel(outputs="linear")
    assert torch.equal(tail(x), model(x, outputs="linear")["linear"])
    doubled = model.insert("double_it", operator.neg, after="conv")
    assert torch.equal(doubled(x), model({"input": x, "conv": -module.conv(x)}))
