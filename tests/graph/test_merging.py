"""Several graphs become one, under prefixes, with rewired inputs."""

import operator

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, merge


def network(seed, inputs=("input",)):
    torch.manual_seed(seed)
    return GraphModule({"first": nn.Linear(4, 4), "relu": nn.ReLU(), "last": nn.Linear(4, 4)}, inputs=inputs).eval()


@pytest.fixture
def models():
    return {"a": network(0), "b": network(1)}


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_models_side_by_side_share_their_input(models, x):
    model = merge(models)
    assert model.inputs == ("input",)
    assert model.names == ("a.first", "a.relu", "a.last", "b.first", "b.relu", "b.last")
    assert list(model.state_dict()) == [f"{key}.{name}" for key in models for name in models[key].state_dict()]
    result = model(x)
    assert list(result) == ["a.last", "b.last"]
    assert all(torch.equal(result[f"{key}.last"], models[key](x)) for key in models)


CHAINS = {
    "by the name of a layer": ({"b.input": "a.last"}, lambda a, b, x: b(a(x))),
    "by a prefix": ({"b.input": "a"}, lambda a, b, x: b(a(x))),
    "against the order of the dict": ({"a.input": "b"}, lambda a, b, x: a(b(x))),
}


@pytest.mark.parametrize(("inputs", "expected"), CHAINS.values(), ids=CHAINS)
def test_one_model_after_the_other(inputs, expected, models, x):
    model = merge(models, inputs)
    assert len(model.outputs) == 1
    assert torch.equal(model(x), expected(**models, x=x))


def test_from_a_hidden_layer_both_outputs_are_left(models, x):
    hidden = models["a"](x, outputs="relu")["relu"]
    result = merge(models, {"b.input": "a.relu"})(x)
    assert torch.equal(result["a.last"], models["a"](x))
    assert torch.equal(result["b.last"], models["b"](hidden))


def test_outputs_can_be_chosen(models, x):
    assert merge(models, {"b.input": "a.relu"}, outputs="b.last").outputs == ("b.last",)
    assert merge(models, outputs=["*.relu"]).outputs == ("a.relu", "b.relu")


def test_inputs_can_be_told_apart(models, x):
    model = merge(models, {"a.input": "left", "b.input": "right"})
    assert model.inputs == ("left", "right")
    result = model({"left": x, "right": -x})
    assert torch.equal(result["b.last"], models["b"](-x))


def test_models_can_feed_each_other_in_turns(x):
    first = GraphModule({"neg": (operator.neg, "p"), "add": (operator.add, ["neg", "q"])}, inputs=("p", "q"))
    second = GraphModule({"twice": lambda x: x * 2})
    model = merge({"a": first, "b": second}, {"b.input": "a.neg", "a.q": "b"})
    assert model.inputs == ("p",)
    assert torch.equal(model(x), -3 * x)


def test_one_model_under_two_prefixes_has_one_set_of_weights(models, x):
    model = merge({"once": models["a"], "twice": models["a"]}, {"twice.input": "once"})
    assert torch.equal(model(x), models["a"](models["a"](x)))
    assert model.once.first is model.twice.first
    assert len(list(model.parameters())) == 4
    twin = merge({"once": models["a"], "twice": models["a"]}, {"twice.input": "once"}, copy=True)
    assert twin.once.first is twin.twice.first
    assert twin.once.first is not models["a"].first


def test_parts_of_values_come_along():
    lstm = GraphModule({"lstm": nn.LSTM(4, 3), "tanh": (torch.tanh, "lstm.0")})
    y = torch.randn(5, 2, 4)
    model = merge({"a": lstm})
    assert model.names == ("a.lstm", "a.lstm.0", "a.tanh")
    assert torch.equal(model(y), lstm(y))


MISTAKES = {
    "no models": ({}, {}, "there are no models to merge"),
    "no graph": ({"a": nn.ReLU()}, {}, "the model 'a' must be a GraphModule, not a ReLU: GraphModule.trace"),
    "dot in prefix": ({"a.b": network(0)}, {}, "the model 'a.b' must not have a dot"),
    "method as prefix": ({"forward": network(0)}, {}, "'forward' must have another name"),
    "unknown input": ({"a": network(0)}, {"a.inptu": "x"}, "no.* has an input 'a.inptu'; did you mean 'a.input'"),
    "unknown layer": (
        {"a": network(0), "b": network(1)},
        {"b.input": "a.frist"},
        "the input 'b.input' gets 'a.frist', which is no layer; did you mean 'a.first'",
    ),
    "several outputs": (
        {"a": merge({"x": network(0), "y": network(1)}), "b": network(2)},
        {"b.input": "a"},
        "the input 'b.input' gets 'a', which has several outputs: name one of 'a.x.last', 'a.y.last'",
    ),
    "cycle": (
        {"a": network(0), "b": network(1)},
        {"a.input": "b", "b.input": "a"},
        "the layers form a cycle: 'a.first' -> .* -> 'a.first'",
    ),
    "prefix is an input": ({"input": network(0)}, {}, "'input' cannot be both an input of the model and"),
}


@pytest.mark.parametrize(("models", "inputs", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_one_line(models, inputs, message):
    with pytest.raises(GraphError, match=message) as error:
        merge(models, inputs)
    assert "\n" not in str(error.value)
