"""Any layer can be an output, any layer can be an input, and nothing is computed or kept that is not needed."""

import operator
import weakref

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule


class Recorder:
    """An operation that adds one and records its calls, and which of its earlier results are still alive."""

    def __init__(self):
        self.calls = 0
        self.results = []
        self.alive_before = []

    def __call__(self, *values):
        self.calls += 1
        self.alive_before = [result() is not None for result in self.results]
        result = sum(values) + 1.0
        self.results.append(weakref.ref(result))
        return result


def residual():
    torch.manual_seed(0)
    return GraphModule(
        {
            "stem": nn.Linear(4, 4),
            "block": {
                "linear": nn.Linear(4, 4),
                "relu": nn.ReLU(),
                "add": (operator.add, ["relu", "stem"]),
            },
            "head": nn.Linear(4, 2),
        }
    )


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_names_are_dotted_paths_and_the_prefixes_of_the_state_dict():
    model = residual()
    assert model.names == ("stem", "block.linear", "block.relu", "block.add", "head")
    assert list(model.state_dict()) == [
        f"{name}.{kind}" for name in ("stem", "block.linear", "head") for kind in ("weight", "bias")
    ]
    assert model.block.linear is model.get_submodule("block.linear")
    assert model.block.add is operator.add
    assert [node.operation for node in model.nodes[:2]] == [model.stem, model.block.linear]


def test_output_is_that_of_the_network_written_by_hand(x):
    model = residual()
    stem = model.stem(x)
    assert torch.equal(model(x), model.head(model.block.linear(stem).relu() + stem))


REQUESTS = {
    "one name": ("block.relu", ["block.relu"]),
    "names in the order asked for": (["head", "stem"], ["head", "stem"]),
    "tuple": (("head", "stem"), ["head", "stem"]),
    "glob, in graph order": ("block.*", ["block.linear", "block.relu", "block.add"]),
    "every layer": ("*", ["stem", "block.linear", "block.relu", "block.add", "head"]),
    "star crosses dots": ("*e*", ["stem", "block.linear", "block.relu", "head"]),
    "name before glob": (["block.add", "block.*"], ["block.add", "block.linear", "block.relu"]),
    "each once": (["stem", "stem"], ["stem"]),
    "characters": ("[sh]*", ["stem", "head"]),
    "an input": (["input", "stem"], ["input", "stem"]),
}


@pytest.mark.parametrize(("outputs", "names"), REQUESTS.values(), ids=REQUESTS)
def test_requested_layers_and_their_order(outputs, names, x):
    model = residual()
    everything = model(x, outputs="*") | {"input": x}
    values = model(x, outputs=outputs)
    assert list(values) == names
    assert all(torch.equal(values[name], everything[name]) for name in names)


def test_a_list_changed_after_the_call_is_another_request(x):
    model, names = residual(), ["stem"]
    model(x, outputs=names)
    names.append("head")
    assert list(model(x, outputs=names)) == ["stem", "head"]


def test_continuing_from_any_cut_gives_the_same_output(x):
    model = residual()
    values = model(x, outputs="*")
    for given in (["stem"], ["block.linear", "stem"], ["block.relu", "stem"], ["block.add"], ["head"]):
        assert torch.equal(model({name: values[name] for name in given}), values["head"]), given


def test_a_given_layer_overrides_what_the_input_would_give(x):
    model = residual()
    h = torch.randn(3, 4)
    values = model({"input": x, "block.relu": h}, outputs="*")
    assert values["block.relu"] is h
    assert torch.equal(values["stem"], model.stem(x))
    assert torch.equal(values["head"], model.head(h + model.stem(x)))


def test_only_what_the_outputs_need_is_computed(x):
    steps = {name: Recorder() for name in "abcd"}
    model = GraphModule({"a": steps["a"], "b": steps["b"], "side": (steps["c"], "a"), "d": (steps["d"], "b")})
    model(x, outputs="b")
    assert [step.calls for step in steps.values()] == [1, 1, 0, 0]
    model(x)
    assert [step.calls for step in steps.values()] == [2, 2, 0, 1]
    model({"b": x, "input": x}, outputs=["d"])
    assert [step.calls for step in steps.values()] == [2, 2, 0, 2]
    model({"a": x}, outputs="*")
    assert [step.calls for step in steps.values()] == [2, 3, 1, 3]


def test_values_are_freed_after_their_last_use(x):
    step = Recorder()
    model = GraphModule({"a": step, "b": step, "c": (step, ["b", "a"]), "d": step, "e": step, "f": (step, ["e", "c"])})
    model(x)
    # When f is computed, c and e are its arguments; a, b and d have had their last use.
    assert step.alive_before == [False, False, True, False, True]
    assert [result() is not None for result in step.results] == [False] * 6


def test_all_arguments_of_an_operation_are_freed_when_it_was_their_last_use(x):
    step = Recorder()
    GraphModule({"a": step, "b": step, "sum": (step, ["a", "b"]), "d": step})(x)
    assert step.alive_before == [False, False, True]


def test_requested_values_are_kept_and_no_others(x):
    step = Recorder()
    model = GraphModule({"a": step, "b": step, "c": step, "d": step})
    values = model(x, outputs=["b", "d"])
    assert [result() is not None for result in step.results] == [False, True, False, True]
    assert set(values) == {"b", "d"}


def test_several_inputs_by_position_by_name_and_only_where_needed(x):
    model = GraphModule({"a": nn.Identity(), "b": (operator.mul, ["a", "mask"])}, inputs=("input", "mask"))
    mask = torch.ones(4)
    mask[0] = 0
    assert model.inputs == ("input", "mask")
    assert torch.equal(model(x, mask), x * mask)
    assert torch.equal(model({"mask": mask, "input": x}), x * mask)
    assert torch.equal(model(x, outputs="a")["a"], x)
    assert torch.equal(model({"a": x, "mask": mask}), x * mask)


def test_operations_without_inputs_and_with_structured_values(x):
    model = GraphModule(
        {
            "token": (lambda: torch.ones(3, 4), []),
            "lstm": (nn.LSTM(4, 4), "input"),
            "hidden": (operator.itemgetter(0), "lstm"),
            "add": (operator.add, ["hidden", "token"]),
        }
    )
    values = model(x, outputs="*")
    assert isinstance(values["lstm"], tuple)
    assert torch.equal(values["add"], values["lstm"][0] + 1)


def test_a_graph_is_an_operation_of_another_graph(x):
    inner = residual()
    model = GraphModule({"scale": (operator.neg, "input"), "inner": inner, "relu": nn.ReLU()})
    assert model.names == ("scale", "inner", "relu")
    assert torch.equal(model(x), inner(-x).relu())
    assert "inner.block.linear.weight" in model.state_dict()


RUN_ERRORS = {
    "unknown output": (lambda m, x: m(x, outputs="block.rleu"), "no layer 'block.rleu'; did you mean 'block.relu'"),
    "unknown in a list": (lambda m, x: m(x, outputs=["stem", "haed"]), "no layer 'haed'; did you mean 'head'"),
    "glob without match": (lambda m, x: m(x, outputs="blok.*"), r"no layer matches 'blok\.\*'; did you mean 'block"),
    "glob never means an input": (lambda m, x: m(x, outputs="inp*"), r"no layer matches 'inp\*'"),
    "nested dict": (lambda m, x: m(x, outputs="block"), r"'block' is not a layer but a nested dict.*'block\.add'"),
    "empty list": (lambda m, x: m(x, outputs=[]), "at least one layer must be named"),
    "not a name": (lambda m, x: m(x, outputs=[3]), "3 is neither name nor glob"),
    "not a list": (lambda m, x: m(x, outputs=3), "expected a name, a glob or a list of them, not 3"),
    "unknown given": (lambda m, x: m({"block.relue": x}), r"no layer 'block\.relue'; did you mean 'block\.relu'"),
    "missing input": (lambda m, x: m({"block.relu": x}), "the input 'input' is missing: the layer 'stem' needs it"),
    "nothing given": (lambda m, x: m(), "the input 'input' is missing: the layer 'stem' needs it"),
    "missing input as output": (lambda m, x: m({"head": x}, outputs="input"), "'input' is missing: it is asked for"),
    "too many": (lambda m, x: m(x, x), "the model takes 1 input .'input'., but 2 were given"),
    "nested dict called": (lambda m, x: m.block(x), "a nested dict of layers cannot be called by itself"),
}


@pytest.mark.parametrize(("call", "message"), RUN_ERRORS.values(), ids=RUN_ERRORS)
def test_wrong_requests_are_refused(call, message, x):
    with pytest.raises(GraphError, match=message) as error:
        call(residual(), x)
    assert "\n" not in str(error.value)


def test_a_failing_operation_is_named_with_what_it_was_called_with():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as error:
        residual()(torch.zeros(2, 3))
    assert error.value.__notes__ == ["in the layer 'stem', called with (float32 (2, 3))"]


def test_a_removed_layer_is_named(x):
    model = residual()
    del model.block.linear
    with pytest.raises(GraphError, match=r"the layer 'block\.linear' has been removed from the model"):
        model(x)
