"""Parts of tuples and dicts, parameters as values, and calls with constants, in declared graphs."""

import copy
import operator
import pickle
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.operations import Call, Input, Method, Part

Halves = namedtuple("Halves", ["left", "right"])


def halves_as_dict(x):
    left, right = x.chunk(2, -1)
    return {"left": left, "right": right}


def halves_as_named_tuple(x):
    return Halves(*x.chunk(2, -1))


def halves(x):
    return x.chunk(2, -1)


@pytest.mark.parametrize(
    ("split", "left", "right"),
    [
        (halves, "0", "1"),
        (halves_as_named_tuple, "0", "1"),
        (halves_as_named_tuple, "left", "right"),
        (halves_as_dict, "left", "right"),
    ],
    ids=["tuple", "named tuple by position", "named tuple by field", "dict"],
)
def test_parts_are_inputs_outputs_and_given_values(split, left, right):
    model = GraphModule({"block": {"split": split, "sub": (operator.sub, [f"split.{left}", f"split.{right}"])}})
    x = torch.randn(3, 4)
    a, b = x.chunk(2, -1)
    assert torch.equal(model(x), a - b)
    assert model.names == ("block.split", f"block.split.{left}", f"block.split.{right}", "block.sub")
    assert torch.equal(model(x, outputs=f"block.split.{right}")[f"block.split.{right}"], b)
    assert torch.equal(model({"input": x, f"block.split.{left}": b}), b - b)
    assert torch.equal(model({f"block.split.{left}": a, f"block.split.{right}": a}), a - a)


def test_parts_of_parts_of_a_module_and_ones_that_no_layer_reads():
    lstm = nn.LSTM(4, 4, batch_first=True)
    model = GraphModule({"lstm": lstm, "head": (nn.Linear(4, 2), "lstm.0")})
    x = torch.randn(2, 3, 4)
    values = model(x, outputs=["lstm.1.0", "lstm.0", "head"])
    output, (hidden, _) = lstm(x)
    assert torch.equal(values["lstm.1.0"], hidden)
    assert torch.equal(values["lstm.0"], output)
    assert "lstm.weight_ih_l0" in model.state_dict()
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_an_input_may_have_parts():
    model = GraphModule({"sub": (operator.sub, ["input.a", "input.b"])})
    assert model({"input": {"a": torch.tensor(3), "b": torch.tensor(1)}}) == 2


def test_writing_into_a_part_leaves_the_whole_as_it_was():
    model = GraphModule({"split": halves, "relu": (nn.ReLU(inplace=True), "split.0")})
    x = torch.randn(3, 4)
    values = model(x, outputs=["split", "split.0", "relu"])
    assert torch.equal(values["split"][0], x[:, :2])
    assert torch.equal(values["split.0"], x[:, :2])
    assert torch.equal(values["relu"], x[:, :2].relu())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relu.0", "there is no 'relu.0': 'relu' returns a Tensor"),
        ("split.2", "there is no 'split.2': 'split' returns a tuple with the parts 0, 1"),
        ("split.left", "there is no 'split.left': 'split' returns a tuple with the parts 0, 1"),
    ],
)
def test_parts_that_are_not_there(name, message):
    model = GraphModule({"relu": nn.ReLU(), "split": halves})
    with pytest.raises(GraphError, match=message):
        model(torch.randn(3, 4), outputs=name)


def test_a_part_and_a_nested_dict_cannot_share_a_name():
    part = [*GraphModule({"split": halves, "relu": (nn.ReLU(), "split.0")}).nodes]
    assert GraphModule.from_nodes(part).names == ("split", "split.0", "relu")
    with pytest.raises(GraphError, match="'split' cannot be both a layer and the nested dict"):
        GraphModule.from_nodes([*part, part[2]._replace(name="split.relu")])


def token_model():
    torch.manual_seed(0)
    return GraphModule(
        {
            "embed": nn.Linear(4, 4),
            "token": nn.Parameter(torch.randn(1, 1, 4)),
            "scale": nn.Buffer(torch.full((1,), 2.0), persistent=False),
            "expand": (Call(Method("expand"), Input(0), 3, -1, -1), "token"),
            "cat": (Call(torch.cat, [Input(0), Input(1)], dim=1), ["expand", "embed"]),
            "mul": (operator.mul, ["cat", "scale"]),
        }
    )


def test_parameters_and_buffers_are_values_of_layers():
    model = token_model()
    x = torch.randn(3, 5, 4)
    expected = torch.cat([model.token.expand(3, -1, -1), model.embed(x)], dim=1) * 2
    assert torch.equal(model(x), expected)
    assert [*model.state_dict()] == ["token", "embed.weight", "embed.bias"]
    assert [name for name, _ in model.named_buffers()] == ["scale"]
    assert list(model(x, outputs="*")) == ["embed", "expand", "cat", "mul"]
    assert model(x, outputs="token")["token"] is model.token
    model(x).sum().backward()
    assert model.token.grad is not None


def test_the_layer_before_is_never_a_parameter():
    model = GraphModule({"relu": nn.ReLU(), "token": nn.Parameter(torch.zeros(1)), "neg": operator.neg})
    assert torch.equal(model(torch.ones(2)), -torch.ones(2))


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: GraphModule.from_nodes(model.nodes),
        lambda model: torch.compile(model, backend="eager", fullgraph=True),
    ],
    ids=["deepcopy", "pickle", "from_nodes", "compile"],
)
def test_values_survive(change):
    model = token_model()
    x = torch.randn(3, 5, 4)
    result = change(copy.deepcopy(model))
    assert torch.equal(result(x), model(x))
    assert list(getattr(result, "_orig_mod", result).state_dict()) == list(model.state_dict())
    torch.testing.assert_close(result.double()(x.double()).float(), model(x))


def test_functional_call_and_vmap_put_other_parameters_in_their_place():
    model = token_model()
    x = torch.randn(3, 5, 4)
    others = [{name: torch.randn_like(value) for name, value in model.named_parameters()} for _ in range(2)]
    stacked = {name: torch.stack([other[name] for other in others]) for name in others[0]}

    def call(parameters):
        return torch.func.functional_call(model, parameters, (x,))

    torch.testing.assert_close(torch.func.vmap(call)(stacked), torch.stack([call(other) for other in others]))


def test_a_parameter_is_never_written_into():
    model = GraphModule({"bias": nn.Parameter(-torch.ones(3)), "relu": (nn.ReLU(inplace=True), "bias")})
    with torch.no_grad():
        assert torch.equal(model(torch.ones(1)), torch.zeros(3))
    assert torch.equal(model.bias, -torch.ones(3))


@pytest.mark.parametrize(
    "call",
    [
        Call(F.relu, Input(0), True),
        Call(F.relu, Input(0), inplace=True),
        Call(Method("mul_"), Input(0), 2),
        Call(Method("add_"), Input(0), Input(1), alpha=2),
        Call(operator.iadd, Input(0), Input(0)),
        Call(torch.add, Input(1), 1, out=Input(0)),
    ],
    ids=["positional flag", "flag", "method", "method of two", "same twice", "out"],
)
def test_calls_that_write_in_place_get_copies(call):
    both = Input(1) in call.args or "out" in call.kwargs
    sources = ["twice", "input"] if both else ["twice"]
    model = GraphModule({"twice": (Call(torch.mul, Input(0), -2.0), "input"), "call": (call, sources)})
    x = torch.randn(4)
    values = model(x.clone(), outputs="*")
    assert torch.equal(values["twice"], x * -2)
    assert torch.equal(values["call"], call(*[x * -2, x.clone()][: len(sources)]))


def test_a_part_is_a_layer_of_its_own_once_its_layer_is_renamed():
    model = GraphModule({"split": halves, "relu": (nn.ReLU(), "split.1")})
    x = torch.randn(3, 4)
    nodes = [node._replace(name="halves") if node.name == "split" else node for node in model.nodes]
    nodes = [node._replace(inputs=("halves",)) if isinstance(node.operation, Part) else node for node in nodes]
    assert torch.equal(GraphModule.from_nodes(nodes)(x), model(x))


class Doubled(nn.Module):
    def forward(self, value):
        return 2 * value


@pytest.mark.parametrize("used_before", [False, True], ids=["fresh", "used"])
def test_a_parameter_that_is_a_layer_can_be_parametrized(used_before):
    torch.compiler.reset()
    model = GraphModule({"scale": {"by": nn.Parameter(torch.ones(3))}, "mul": (operator.mul, ["input", "scale.by"])})
    x = torch.randn(2, 3)
    if used_before:
        model(x)
    torch.nn.utils.parametrize.register_parametrization(model.scale, "by", Doubled())
    assert torch.equal(model(x), 2 * x)
    assert torch.equal(model(x, outputs=["scale.by"])["scale.by"], torch.full((3,), 2.0))
    assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), 2 * x)
