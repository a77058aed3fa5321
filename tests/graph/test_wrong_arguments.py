"""Arguments of a wrong type get one line that says what is expected."""

import operator

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, merge, pure, stitch


def graph():
    return GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU()})


def nested():
    return GraphModule({"first": nn.Linear(4, 4), "inner": graph(), "last": nn.Linear(4, 4)})


CASES = {
    "merge a list": (lambda: merge([graph()]), "merge takes a dict from prefixes to graphs, such as .*, not a list"),
    "merge a graph": (lambda: merge(graph()), "merge takes a dict from prefixes to graphs, .* not a GraphModule"),
    "merge, list of inputs": (lambda: merge({"a": graph()}, ["a.input"]), "inputs must be a dict .* not .'a.input'."),
    "merge, input": (lambda: merge({"a": graph()}, {"a.input": 3}), "the input 'a.input' gets 3, which is not a name"),
    "rename": (lambda: graph().rename("relu"), "rename takes a dict from names to new names, .*, not 'relu'"),
    "delta, base": (lambda: graph().delta_state_dict(3), "the base must be a model, .* or a state dict, not a int"),
    "delta, entry of the base": (lambda: graph().delta_state_dict({"a": 3}), "the base must be .*: 'a' is a int"),
    "load delta": (lambda: graph().load_delta_state_dict(3, graph()), "the delta must be a state dict, not a int"),
    "load delta, entry": (
        lambda: graph().load_delta_state_dict({"linear.bias": 3}, graph()),
        "the delta must be a state dict: 'linear.bias' is a int",
    ),
    "submodel, inputs": (lambda: graph().submodel(3, "relu"), "expected a name, a glob or a list of them, not 3"),
    "submodel, outputs": (lambda: graph().submodel("linear", 3), "expected a name, a glob or a list of them, not 3"),
    "prune": (lambda: graph().prune(3), "expected a name, a glob or a list of them, not 3"),
    "insert": (
        lambda: graph().insert("a", nn.ReLU(), after=["relu"]),
        r"the name of a layer is a string, not \['relu'\]",
    ),
    "insert, glob": (
        lambda: graph().insert("a", nn.ReLU(), after="*"),
        r"'\*' is a glob, where one layer must be named",
    ),
    "stitch, glob": (lambda: stitch(graph(), "*", graph(), "relu"), r"'\*' is a glob, where one layer must be named"),
    "from_nodes": (lambda: GraphModule.from_nodes([nn.ReLU()]), r"a list of Nodes, .* not of ReLU\(\)"),
    "draw": (lambda: graph().draw(3), "a picture is drawn to a path such as 'model.svg', not to 3"),
    "pure": (lambda: pure(3), "only a function, a module or a class can be declared pure, not 3"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_arguments_of_a_wrong_type(call, message):
    with pytest.raises(GraphError, match=f"{message}$"):
        call()


WAYS_INSIDE = {
    "outputs": lambda model, x: model(x, outputs="inner.relu"),
    "given": lambda model, x: model({"inner.relu": x}),
    "submodel": lambda model, x: model.submodel("inner.relu"),
    "insert": lambda model, x: model.insert("new", nn.ReLU(), after="inner.relu"),
    "replace": lambda model, x: model.replace("inner.relu", nn.Tanh()),
    "rename": lambda model, x: model.rename({"inner.relu": "act"}),
    "stitch": lambda model, x: stitch(model, "inner.relu", model, "last"),
}


@pytest.mark.parametrize("ask", WAYS_INSIDE.values(), ids=WAYS_INSIDE)
def test_layers_of_a_nested_graph_are_asked_of_that_graph(ask):
    with pytest.raises(
        GraphError, match=r"^'inner\.relu' is inside of 'inner', .* ask that graph, .*, for its layer 'relu'$"
    ):
        ask(nested(), torch.randn(2, 4))


def test_outputs_of_a_nested_graph_are_parts_of_its_value():
    inner = GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU()}).prune(["linear", "relu"])
    model = GraphModule({"inner": inner, "add": (operator.add, ["inner.linear", "inner.relu"])})
    x = torch.randn(2, 4)
    values = inner(x)
    assert torch.equal(model(x), values["linear"] + values["relu"])
    assert torch.equal(model(x, outputs="inner.relu")["inner.relu"], values["relu"])
