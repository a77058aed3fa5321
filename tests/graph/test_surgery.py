"""Cutting, inserting, replacing, renaming and pruning: what each returns, and which mistakes are refused."""

import operator

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, Node


def network():
    torch.manual_seed(0)
    return GraphModule(
        {
            "stem": nn.Linear(4, 4),
            "block": {
                "linear": nn.Linear(4, 4),
                "relu": nn.ReLU(inplace=True),
                "add": (operator.add, ["relu", "stem"]),
            },
            "side": (nn.Linear(4, 1), "stem"),
            "head": (nn.Linear(4, 2), "block.add"),
        }
    ).eval()


@pytest.fixture
def model():
    return network()


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_a_submodel_continues_from_the_cut(model, x):
    values = model(x, outputs="*")
    part = model.submodel("block.add", "head")
    assert part.inputs == ("block.add",)
    assert part.names == part.outputs == ("head",)
    assert torch.equal(part(values["block.add"]), values["head"])
    assert torch.equal(model.submodel(outputs="block.relu")(x), values["block.relu"])
    assert torch.equal(model.submodel("stem")(values["stem"]), values["head"])


def test_a_submodel_with_several_inputs_and_outputs(model, x):
    values = model(x, outputs="*")
    part = model.submodel(["block.relu", "stem"], ["head", "s*e"])
    assert part.inputs == ("block.relu", "stem")
    assert part.outputs == ("head", "side")
    result = part(values["block.relu"], values["stem"])
    assert list(result) == ["head", "side"]
    assert all(torch.equal(result[name], values[name]) for name in result)
    assert torch.equal(part({"block.relu": values["block.relu"], "stem": values["stem"]})["head"], values["head"])


def test_results_share_parameters_unless_copied(model):
    assert model.submodel(outputs="block.add").stem is model.stem
    twin = model.submodel(outputs="block.add", copy=True)
    assert torch.equal(twin.stem.weight, model.stem.weight)
    assert twin.stem.weight is not model.stem.weight
    new = nn.Linear(4, 4)
    assert model.insert("new", new, after="stem").new is new
    assert model.insert("new", new, after="stem", copy=True).new is not new


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_mode_is_kept_everywhere(training):
    model = network().train(training)
    for result in (model.submodel("stem"), model.rename({"block": "a"}), model.prune("side")):
        assert {module.training for module in result.modules()} == {training}


def test_insert_after_a_layer_changes_what_all_its_readers_get(model, x):
    values = model.insert("block.neg", operator.neg, after="stem")(x, outputs="*")
    stem = model.stem(x)
    assert list(values) == ["stem", "block.neg", "block.linear", "block.relu", "block.add", "side", "head"]
    assert torch.equal(values["stem"], stem)
    assert torch.equal(values["block.add"], model.block.linear(-stem).relu() - stem)
    assert torch.equal(values["side"], model.side(-stem))


def test_insert_after_the_output_becomes_the_output(model, x):
    result = model.insert("probability", nn.Softmax(-1), after="head")
    assert result.outputs == ("probability",)
    assert torch.equal(result(x), model(x).softmax(-1))


def test_insert_after_the_input(model, x):
    assert torch.equal(model.insert("twice", lambda x: x * 2, after="input")(x), model(2 * x))


def test_insert_before_a_layer_changes_what_it_alone_gets(model, x):
    values = model.insert("neg", operator.neg, before="block.linear")(x, outputs="*")
    stem = model.stem(x)
    assert torch.equal(values["block.add"], model.block.linear(-stem).relu() + stem)


def test_insert_on_an_edge(model, x):
    values = model.insert("block.shortcut", operator.neg, after="stem", before="block.add")(x, outputs="*")
    stem = model.stem(x)
    assert torch.equal(values["block.add"], model.block.linear(stem).relu() - stem)


def test_replace(model, x):
    result = model.replace("block.add", operator.mul).replace("head", nn.Identity())
    stem = model.stem(x)
    assert torch.equal(result(x), model.block.linear(stem).relu() * stem)


def test_rename_layers_blocks_and_inputs(model, x):
    names = {"block": "stage.first", "block.relu": "activation", "stem": "side", "side": "stem", "input": "image"}
    result = model.rename(names)
    assert result.names == ("side", "stage.first.linear", "activation", "stage.first.add", "stem", "head")
    assert result.inputs == ("image",)
    assert "stage.first.linear.weight" in result.state_dict()
    assert torch.equal(result({"image": x}), model(x))
    back = result.rename({"side": "stem", "stem": "side", "image": "input", "activation": "block.relu"})
    assert back.rename({"stage.first": "block"}).nodes == model.nodes


def test_rename_dissolves_a_block(model, x):
    result = model.rename({"block": ""})
    assert result.names == ("stem", "linear", "relu", "add", "side", "head")
    assert torch.equal(result(x), model(x))


def test_prune_drops_what_the_outputs_do_not_need(model, x):
    values = model(x, outputs="*")
    assert model.prune().names == ("stem", "block.linear", "block.relu", "block.add", "head")
    result = model.prune("side")
    assert list(result.state_dict()) == ["stem.weight", "stem.bias", "side.weight", "side.bias"]
    assert torch.equal(result(x), values["side"])
    assert torch.equal(model.prune(["side", "head"])(x)["side"], values["side"])


def test_a_flat_list_of_layers_makes_the_same_graph(model, x):
    nodes = list(model.nodes)
    assert GraphModule.from_nodes(nodes, outputs=["head"]).nodes == model.nodes
    shuffled = GraphModule.from_nodes(nodes[::-1], outputs=["head"])
    assert sorted(shuffled.names) == sorted(model.names)
    assert torch.equal(shuffled(x), model(x))
    assert GraphModule.from_nodes(nodes).outputs == ("head",)


def test_hooks_come_along_with_their_layers(model, x):
    seen = []
    model.block.linear.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.submodel("stem", "block.relu")(x)
    assert len(seen) == 1


MISTAKES = {
    "unknown layer to cut at": (lambda m: m.submodel("blok.add"), r"no layer 'blok\.add'; did you mean 'block\.add'"),
    "unknown output": (lambda m: m.submodel("stem", "haed"), "no layer 'haed'; did you mean 'head'"),
    "glob without match": (lambda m: m.prune("x*"), r"no layer matches 'x\*'"),
    "output is input": (lambda m: m.submodel(["stem", "head"], "head"), "the output 'head' is also an input"),
    "model's input as output": (lambda m: m.prune(["head", "input"]), "the output 'input' is also an input"),
    "shortcut around the cut": (
        lambda m: m.submodel("block.relu"),
        r"the layer 'block\.add' also needs 'stem', which does not come from 'block\.relu': make it an input too",
    ),
    "missing input": (lambda m: m.submodel("head", "side"), "the input 'input' is missing: the layer 'stem' needs it"),
    "insert nowhere": (lambda m: m.insert("a", torch.neg), r"after \(or before\) which layer is 'a' to be inserted"),
    "insert after unknown": (lambda m: m.insert("a", torch.neg, after="sten"), "no layer 'sten'; did you mean 'stem'"),
    "insert after a block": (lambda m: m.insert("a", torch.neg, after="block"), "'block' is not a layer but a nested"),
    "insert before unknown": (lambda m: m.insert("a", torch.neg, before="haed"), "no layer 'haed'; did you mean 'head"),
    "insert before several": (
        lambda m: m.insert("a", torch.neg, before="block.add"),
        r"'block\.add' has the inputs 'block\.relu', 'stem': say after which",
    ),
    "insert where is no edge": (
        lambda m: m.insert("a", torch.neg, after="stem", before="head"),
        r"the layer 'head' does not read 'stem', but 'block\.add'",
    ),
    "name taken": (lambda m: m.insert("side", torch.neg, after="stem"), "the layer 'side' is there twice"),
    "name of the input": (lambda m: m.insert("input", torch.neg, after="stem"), "'input' must have another name"),
    "name of a block": (
        lambda m: m.insert("block", torch.neg, after="stem"),
        r"'block' cannot be both a layer and the nested dict that 'block\.linear' is in",
    ),
    "name inside a layer": (
        lambda m: m.insert("stem.norm", torch.neg, after="stem"),
        r"'stem' cannot be both a layer and the nested dict that 'stem\.norm' is in",
    ),
    "glob as name": (lambda m: m.insert("a*", torch.neg, after="stem"), r"must not have any of \* \? \[ \]"),
    "empty part of a name": (lambda m: m.insert("a..b", torch.neg, after="stem"), r"the layer 'a\.\.b': ''"),
    "not a name": (lambda m: m.insert(3, torch.neg, after="stem"), "the layer 3 must have a name that is a string"),
    "attribute of modules": (lambda m: m.rename({"stem": "forward"}), "'forward' is already an attribute"),
    "attribute of blocks": (lambda m: m.rename({"stem": "block.children"}), "'children' is already an attribute"),
    "class as operation": (lambda m: m.replace("head", nn.ReLU), r"the layer 'head' is the class ReLU, not a module"),
    "not an operation": (lambda m: m.insert("a", "relu", after="stem"), "must be a module, a function or a dict, not"),
    "replace unknown": (lambda m: m.replace("haed", nn.ReLU()), "no layer 'haed'; did you mean 'head'"),
    "replace the input": (lambda m: m.replace("input", nn.ReLU()), "there is no layer 'input'"),
    "rename unknown": (lambda m: m.rename({"blok": "b"}), "no layer 'blok'; did you mean"),
    "rename to the same": (lambda m: m.rename({"stem": "head"}), "the layer 'head' is there twice"),
    "rename into a layer": (lambda m: m.rename({"block.add": "stem.add"}), "'stem' cannot be both a layer and"),
    "rename to no string": (lambda m: m.rename({"stem": 3}), "the new name of 'stem' must be a string, not 3"),
    "rename to nothing": (lambda m: m.rename({"stem": ""}), "the layer '' must have a name"),
    "rename to the input": (lambda m: m.rename({"stem": "input"}), "'input' is an input of the model"),
    "rename the input to a block": (lambda m: m.rename({"input": "block"}), "'block' cannot be both an input of the"),
}


@pytest.mark.parametrize(("operate", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_one_line(operate, message, model):
    with pytest.raises(GraphError, match=message) as error:
        operate(model)
    assert "\n" not in str(error.value)


NEG = {name: Node(name, torch.neg, (source,)) for name, source in [("a", "input"), ("b", "c"), ("c", "d"), ("d", "b")]}
FLAT_MISTAKES = {
    "no layers": ([], {}, "the graph has no layers"),
    "no inputs": ([Node("a", torch.rand, ())], {"inputs": ()}, "at least one input"),
    "no outputs": ([NEG["a"]], {"outputs": ()}, "at least one output"),
    "cycle": (NEG.values(), {"outputs": ["a"]}, "the layers form a cycle: 'b' -> 'd' -> 'c' -> 'b'"),
    "itself": ([Node("a", torch.neg, ("a",))], {}, "the layers form a cycle: 'a' -> 'a'"),
    "unknown input": (
        [NEG["a"], Node("e", torch.neg, ("inptu",))],
        {},
        "the layer 'e' has an unknown input 'inptu'; did you mean 'input'",
    ),
    "unknown output": ([NEG["a"]], {"outputs": ["A"]}, "no layer 'A' that could be an output; did you mean 'a'"),
    "output is an input": ([NEG["a"]], {"outputs": ["a", "input"]}, "the output 'input' is also an input"),
    "output twice": ([NEG["a"]], {"outputs": ["a", "a"]}, "the output 'a' is there twice"),
    "input twice": ([NEG["a"]], {"inputs": ["input", "input"]}, "the input 'input' is there twice"),
}


def test_of_a_long_cycle_only_the_ends_are_named():
    nodes = [Node(f"n{index}", torch.neg, (f"n{(index - 1) % 100}",)) for index in range(100)]
    with pytest.raises(GraphError, match=r"cycle: ('n\d+' -> ){4}\.\.\.( -> 'n\d+'){4}$"):
        GraphModule.from_nodes(nodes)


@pytest.mark.parametrize(("nodes", "options", "message"), FLAT_MISTAKES.values(), ids=FLAT_MISTAKES)
def test_wrong_lists_of_layers_are_refused(nodes, options, message):
    with pytest.raises(GraphError, match=message):
        GraphModule.from_nodes(nodes, **options)
