"""Under `torch.compile` a graph computes what it does without, at the price of the same network written by hand."""

import copy
import operator
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.models import ResNet


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch.compiler.reset()


@pytest.fixture
def x():
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


class Backend:
    """Counts what is compiled, and runs it as it is."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def small(norm=nn.BatchNorm1d):
    torch.manual_seed(0)
    return GraphModule(
        {
            "first": nn.Linear(4, 4),
            "block": {
                "linear": nn.Linear(4, 4),
                "norm": norm(4),
                "add": (operator.add, ["norm", "first"]),
                "relu": nn.ReLU(inplace=True),
                "halve": lambda x: x.div_(2),
            },
            "linear": nn.Linear(4, 3),
        }
    ).eval()


REQUESTS = {
    "output": ({}, lambda x: x),
    "every layer": ({"outputs": "*"}, lambda x: x),
    "some layers": ({"outputs": ["block.relu", "first"]}, lambda x: x),
    "from a hidden layer": ({}, lambda x: {"block.relu": x}),
}


@pytest.mark.parametrize(("options", "given"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("used_before", [False, True], ids=["fresh", "used"])
def test_requests_compile_once_and_without_graph_breaks(options, given, used_before, x):
    model, backend = small(), Backend()
    if used_before:
        model(given(x), **options)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for _ in range(3):
        torch.testing.assert_close(compiled(given(x), **options), model(given(x), **options))
    assert backend.graphs == 1


def test_training_step_has_the_same_gradients():
    torch.manual_seed(0)
    model = ResNet(8, width=4, in_channels=1)
    twin = copy.deepcopy(model)
    x = torch.randn(4, 1, 8, 8)
    torch.compile(model, backend="aot_eager", fullgraph=True)(x).square().sum().backward()
    twin(x).square().sum().backward()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_values_are_right_with_in_place_operations(x):
    model = GraphModule({"a": nn.Linear(4, 4), "b": nn.ReLU(inplace=True), "c": lambda x: x.add_(1)})
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(x, outputs="*")
    torch.testing.assert_close(compiled, model(x, outputs="*"))


class ByHand(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
        self.relus = nn.ModuleList(nn.ReLU(inplace=True) for _ in range(depth))

    def forward(self, x):
        for layer, relu in zip(self.layers, self.relus, strict=True):
            x = relu(layer(x)) + x
        return x


@pytest.mark.parametrize("used_before", [False, True], ids=["fresh", "used"])
def test_no_more_is_checked_before_a_call_than_for_the_same_network_by_hand(used_before, x):
    depth = 20
    layers = {}
    for index in range(depth):
        layers[f"linear{index}"] = nn.Linear(4, 4)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        layers[f"add{index}"] = (operator.add, [-1, f"add{index - 1}" if index else "input"])
    models = {"graph": GraphModule(layers), "by hand": ByHand(depth)}
    guards = {}
    for name, model in models.items():

        def count(entries, name=name):
            guards[name] = len(entries)
            return [True] * len(entries)

        if used_before:
            model(x)
        torch.compile(model, backend="eager", options={"guard_filter_fn": count})(x)
    assert guards["graph"] < 1.1 * guards["by hand"]


def assign(name, operation):
    def change(model):
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, operation())

    return change


CHANGES = {
    "other weights": assign("first", lambda: nn.Linear(4, 4)),
    "another class": assign("first", lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh())),
    "one that writes in place": assign("block.norm", lambda: nn.ReLU(inplace=True)),
    "a flag": lambda model: setattr(model.block.relu, "inplace", False),
    "a function": assign("block.add", lambda: operator.iadd),
    "a parameter": lambda model: model.first.register_parameter("bias", None),
    "modes": lambda model: model.train(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_the_model_take_effect(change, x):
    model = small()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        compiled(x, outputs="*")
        change(model)
        expected = copy.deepcopy(model)(x.clone(), outputs="*")
        torch.testing.assert_close(compiled(x, outputs="*"), expected)


def test_a_replaced_parameter_that_is_a_layer_takes_effect(x):
    model = GraphModule({"scale": nn.Parameter(torch.ones(4)), "mul": (operator.mul, ["input", "scale"])})
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), x)
    model.scale = nn.Parameter(torch.zeros(4))
    assert not compiled(x).any()


def test_what_was_compiled_serves_all_graphs_of_the_same_structure(x):
    backend = Backend()
    for _ in range(20):  # more than Dynamo compiles for one piece of code
        model = GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU(inplace=True)})
        assert torch.equal(torch.compile(model, backend=backend, fullgraph=True)(x), model(x))
    assert backend.graphs == 1


STRUCTURES = {
    "names": {"linear": nn.Linear(4, 4), "other": nn.ReLU()},
    "inputs": {"linear": nn.Linear(4, 4), "relu": (nn.ReLU(), "input")},
    "order": {"relu": nn.ReLU(), "linear": nn.Linear(4, 4)},
    "a part": {"linear": nn.Linear(4, 4), "relu": lambda x: (x, -x), "last": (nn.ReLU(), "relu.1")},
    "a parameter": {"linear": nn.Parameter(torch.ones(4)), "relu": nn.ReLU()},
}


@pytest.mark.parametrize("architecture", STRUCTURES.values(), ids=STRUCTURES)
def test_what_was_compiled_does_not_serve_other_structures(architecture, x):
    backend = Backend()
    for model in (GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU()}), GraphModule(architecture)):
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(x, outputs="*"), model(x, outputs="*"))
    assert backend.graphs == 2


def test_a_graph_within_other_modules_compiles_with_them(x):
    inner = GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU(inplace=True)})
    outer = nn.Sequential(nn.Linear(4, 4), GraphModule({"inner": inner, "add": (operator.add, ["inner", "input"])}))
    backend = Backend()
    compiled = torch.compile(outer, backend=backend, fullgraph=True)
    assert torch.equal(compiled(x), outer(x))
    inner.linear = nn.Linear(4, 4)
    assert torch.equal(compiled(x), outer(x))
    assert backend.graphs == 1


def test_functional_call_within_a_compiled_function(x):
    model = small()
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    assert not torch.compile(lambda x: functional_call(model, zeros, (x,)), backend="eager", fullgraph=True)(x).any()


def test_an_unknown_name_is_the_same_error(x):
    with pytest.raises(GraphError, match="there is no layer 'lienar'; did you mean 'linear'"):
        torch.compile(small(), backend="eager")(x, outputs="lienar")


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_graph_that_was_compiled_in_place_is_its_own(make_copy, x):
    model = GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU()})
    model.compile(backend="eager")
    before = model(x)
    twin = make_copy(model)
    nn.init.zeros_(model.linear.weight)
    assert torch.equal(twin(x), before)
