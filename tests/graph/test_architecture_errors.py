"""A wrong architecture is refused when it is declared, in one line that names the layer."""

import operator

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule

CASES = {
    "no layers": ({}, "the architecture has no layers"),
    "not a dict": ([nn.ReLU()], "an architecture is a dict of layers, not a list"),
    "empty nested dict": ({"a": nn.ReLU(), "stage": {}}, "the nested dict 'stage' has no layers"),
    "dot in name": ({"a.b": nn.ReLU()}, "the layer 'a.b' must not have a dot"),
    "empty name": ({"": nn.ReLU()}, "the layer '' must have a name"),
    "name is a number": ({"stage": {0: nn.ReLU()}}, "the layer of 'stage' 0 must have a name that is a string"),
    "glob in name": ({"conv*": nn.ReLU()}, r"the layer 'conv\*' must not have any of \* \? \[ \]"),
    "method of modules": ({"forward": nn.ReLU()}, "'forward' must have another name.*attribute of GraphModule"),
    "attribute of modules": ({"training": nn.ReLU()}, "'training' must have another name"),
    "method, nested": ({"stage": {"parameters": torch.relu}}, r"the layer 'stage\.parameters' must have another name"),
    "method, as nested dict": ({"children": {"a": nn.ReLU()}}, "the nested dict 'children' must have another name"),
    "property of graphs": ({"a": nn.ReLU(), "nodes": nn.ReLU()}, "'nodes' must have another name"),
    "internal attribute": ({"_modules": nn.ReLU()}, "'_modules' must have another name"),
    "input reused": ({"input": nn.ReLU()}, "the layer 'input' must have another name: 'input' is an input"),
    "input reused, nested": ({"stage": {"input": nn.ReLU()}}, r"the layer 'stage\.input' must have another name"),
    "unknown input": (
        {"conv1": nn.ReLU(), "add": (torch.add, ["conv1", "con1"])},
        "'add'.*'con1'.*did you mean 'conv1'",
    ),
    "itself as input": ({"a": nn.ReLU(), "b": (torch.add, ["a", "b"])}, "the layer 'b' has itself as an input"),
    "later layer as input": (
        {"a": (nn.ReLU(), "b"), "b": nn.ReLU()},
        "the layer 'a' has the input 'b', which must come",
    ),
    "nested dict as input": (
        {"stage": {"conv": nn.ReLU()}, "b": (nn.ReLU(), "stage")},
        r"'stage', which is a nested dict: name a layer in it, such as 'stage\.conv'",
    ),
    "position out of reach": ({"a": nn.ReLU(), "b": (nn.ReLU(), -3)}, "'b' has the input -3, but only 1 layers before"),
    "position forwards": ({"a": (nn.ReLU(), 0)}, "the layer 'a' has the input 0: positions count backwards"),
    "input of wrong type": ({"a": (nn.ReLU(), [1.5])}, "'a' has the input 1.5, which is neither a name nor a position"),
    "tuple too long": ({"a": (nn.ReLU(), "input", -1)}, "'a' must be .operation, inputs., not a tuple of 3"),
    "not an operation": ({"a": "relu"}, "the layer 'a' must be a module, a function or a dict, not 'relu'"),
    "class, not instance": ({"a": nn.ReLU}, r"the layer 'a' is the class ReLU, not a module: write ReLU\("),
    "no forward": ({"a": nn.ModuleList([nn.ReLU()])}, "the layer 'a' is a ModuleList, which has no forward"),
}


@pytest.mark.parametrize(("architecture", "message"), CASES.values(), ids=CASES)
def test_wrong_architecture_is_refused(architecture, message):
    with pytest.raises(GraphError, match=message) as error:
        GraphModule(architecture)
    assert "\n" not in str(error.value)


INPUT_CASES = {
    "none": ((), "at least one name"),
    "a string": ("input", "must be a tuple"),
    "twice": (("x", "x"), "the input 'x' is declared twice"),
    "dot": (("x.y",), "the input 'x.y' must not have a dot"),
}


@pytest.mark.parametrize(("inputs", "message"), INPUT_CASES.values(), ids=INPUT_CASES)
def test_wrong_inputs_are_refused(inputs, message):
    with pytest.raises(GraphError, match=message):
        GraphModule({"a": nn.ReLU()}, inputs=inputs)


def test_names_mean_the_innermost_layer_declared_before():
    model = GraphModule(
        {
            "relu": nn.ReLU(),
            "stage": {
                "outer": (nn.Identity(), "relu"),  # `stage.relu` is not there yet
                "relu": nn.ReLU(),
                "inner": (nn.Identity(), "relu"),
                "deep": {
                    "a": (nn.Identity(), "relu"),
                    "b": (nn.Identity(), "stage.relu"),
                    "c": (nn.Identity(), "input"),
                },
            },
        }
    )
    assert {node.name: node.inputs for node in model.nodes} == {
        "relu": ("input",),
        "stage.outer": ("relu",),
        "stage.relu": ("stage.outer",),
        "stage.inner": ("stage.relu",),
        "stage.deep.a": ("stage.relu",),
        "stage.deep.b": ("stage.relu",),
        "stage.deep.c": ("input",),
    }


def test_positions_count_back_across_nested_dicts_to_the_input():
    model = GraphModule(
        {
            "a": nn.Identity(),
            "stage": {"b": (nn.Identity(), -1), "c": (operator.add, [-1, -2])},
            "d": (operator.add, (-4, "stage.b")),
        }
    )
    assert [node.inputs for node in model.nodes] == [("input",), ("a",), ("stage.b", "a"), ("input", "stage.b")]
