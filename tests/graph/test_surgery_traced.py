"""Surgery on traced models: repeated modules, parameters as values, parts of values and modes come along."""

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, frozen, merge, stitch


class Attentive(nn.Module):
    """Uses modules twice, with other constants, reads a parameter of a layer itself, and takes parts of a tuple."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(torch.randn(4))
        self.embedding = nn.Embedding(5, 4)

    def forward(self, x):
        y, _ = self.attention(x, x, x, need_weights=False)
        z, weights = self.attention(y, y, y)
        h = self.linear(self.relu(self.linear(self.relu(z)))) * self.scale
        return (weights @ h) @ self.embedding.weight.t()


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Attentive().eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))


def test_the_second_use_has_constants_of_its_own(module, x):
    torch.testing.assert_close(GraphModule.trace(module)(x), module(x))


OPERATIONS = {
    "prune": lambda m: m.prune(),
    "insert": lambda m: m.insert("same", nn.Identity(), after="relu_1"),
    "replace": lambda m: m.replace("relu_1", nn.ReLU()),
    "to_inplace_free": lambda m: m.to_inplace_free(),
    "fuse_conv_bn": lambda m: m.fuse_conv_bn(),
    "copy": lambda m: m.rename({}, copy=True),
}


@pytest.mark.parametrize("operate", OPERATIONS.values(), ids=OPERATIONS)
def test_results_have_the_values_and_the_keys_of_the_module(operate, module, x):
    result = operate(GraphModule.trace(module))
    torch.testing.assert_close(result(x), module(x))
    assert set(result.state_dict()) == set(module.state_dict())
    result.load_state_dict(module.state_dict())
    assert not result.training


def test_renamed_modules_keep_one_set_of_keys(module, x):
    result = GraphModule.trace(module).rename({"linear": "first", "linear_1": "second", "scale": "gain"})
    assert torch.equal(result(x), module(x))
    keys = {key.replace("linear.", "first.").replace("scale", "gain") for key in module.state_dict()}
    assert set(result.state_dict()) == keys


def test_a_part_that_starts_at_the_second_use_has_the_module(module, x):
    model = GraphModule.trace(module)
    back = model.submodel(["relu_1", "attention_1.1"])
    values = model(x, outputs=["relu_1", "attention_1.1"])
    torch.testing.assert_close(back(values), module(x))
    assert sorted(back.state_dict()) == ["embedding.weight", "linear_1.bias", "linear_1.weight", "scale"]


def test_merged_and_stitched_traced_models(module, x):
    model = GraphModule.trace(module)
    merged = merge({"a": model, "b": model}, {"b.input": "a.linear"})
    assert torch.equal(merged(x)["a.matmul_1"], module(x))
    stitched = stitch(model, "attention.0", model, "attention.0", example=x)
    assert repr(stitched.via).startswith("Linear(in_features=4, out_features=4")
    stitched.via.load_state_dict({"weight": torch.eye(4), "bias": torch.zeros(4)})
    torch.testing.assert_close(stitched(x), module(x))


class Modal(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x) * 2 if self.training else self.linear(x)


def test_a_mode_that_is_bound_stays_so():
    model = GraphModule.trace(Modal().eval())
    for result in (model.prune(), merge({"a": model}), model.prune(copy=True)):
        with pytest.raises(GraphError, match="traced in evaluation mode"):
            result.train()
    with pytest.raises(GraphError, match="traced in training mode and in evaluation mode cannot become one"):
        merge({"a": model, "b": GraphModule.trace(Modal().train())})


def test_a_parameter_that_is_a_value_can_be_frozen(module, x):
    model = GraphModule.trace(module)
    with frozen(model, "scale"):
        model(x).sum().backward()
    assert model.scale.grad is None
    assert model.linear.weight.grad is not None


@pytest.fixture
def recurrent():
    torch.manual_seed(0)
    return GraphModule(
        {"lstm": nn.LSTM(4, 4), "neg": (torch.neg, "lstm.0"), "cell": (torch.tanh, "lstm.1.1"), "last": nn.Identity()}
    )


def test_parts_of_values_can_be_cut_at_and_renamed(recurrent, x):
    values = recurrent(x, outputs=["lstm.0", "lstm.1.0", "lstm.1.1", "last"])
    assert torch.equal(recurrent.submodel(outputs="lstm.1.0")(x), values["lstm.1.0"])
    assert torch.equal(recurrent.submodel("lstm.1.1")(values["lstm.1.1"]), values["last"])
    renamed = recurrent.rename({"lstm": "rnn.first"})
    assert renamed.names[:2] == ("rnn.first", "rnn.first.0")
    assert torch.equal(renamed(x), values["last"])
    with pytest.raises(GraphError, match=r"there is no 'rnn\.first\.2': 'rnn\.first' returns a tuple"):
        renamed(x, outputs="rnn.first.2")


def test_a_layer_can_be_inserted_after_a_part(recurrent, x):
    changed = recurrent.insert("twice", lambda c: 2 * c, after="lstm.1.1")
    cell = recurrent(x, outputs="lstm.1.1")["lstm.1.1"]
    assert torch.equal(changed(x), (2 * cell).tanh())


PART_MISTAKES = {
    "insert after a whole": (
        lambda m: m.insert("same", nn.Identity(), after="lstm"),
        r"'lstm' has the part 'lstm\.0' that is used by itself: insert after that",
    ),
    "rename a part": (lambda m: m.rename({"lstm.0": "h"}), r"'lstm\.0' cannot have another name: it is a part"),
    "cut at a part alone": (
        lambda m: m.submodel("lstm.0", ["neg", "last"]),
        r"the input 'input' is missing: the layer 'lstm' needs it",
    ),
}


@pytest.mark.parametrize(("operate", "message"), PART_MISTAKES.values(), ids=PART_MISTAKES)
def test_mistakes_with_parts_are_refused(operate, message, recurrent):
    with pytest.raises(GraphError, match=message):
        operate(recurrent)


class Shadowing(nn.Module):
    """A module whose submodules have the names of a graph's properties."""

    def __init__(self):
        super().__init__()
        self.inputs = nn.Conv2d(3, 4, 1)
        self.nodes = nn.BatchNorm2d(4)
        self.names = nn.ReLU(inplace=True)
        self.outputs = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.outputs(self.names(self.nodes(self.inputs(x))))


ON_SHADOWED = {
    "submodel": lambda model: model.submodel(outputs="outputs"),
    "insert": lambda model: model.insert("identity", nn.Identity(), after="names"),
    "replace": lambda model: model.replace("names", nn.ReLU()),
    "rename": lambda model: model.rename({"nodes": "norm"}),
    "fuse_conv_bn": lambda model: model.fuse_conv_bn(),
    "to_inplace_free": lambda model: model.to_inplace_free(),
    "merge": lambda model: merge({"part": model}),
    "stitch": lambda model: stitch(model, "names", model, "names", via=nn.Identity()),
}


@pytest.mark.parametrize("operate", ON_SHADOWED.values(), ids=ON_SHADOWED)
def test_submodules_may_be_called_as_a_graphs_properties(operate):
    model = GraphModule.trace(Shadowing().eval())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(operate(model)(x), model(x))


def test_such_a_model_can_be_frozen_and_looked_at():
    model = GraphModule.trace(Shadowing())
    with frozen(model, "outputs"):
        assert not model.outputs.weight.requires_grad
    assert list(model.layers((3, 4, 4))["name"]) == ["inputs", "nodes", "names", "outputs"]
    assert all(name in model.draw().mermaid for name in ["inputs", "nodes", "names", "outputs"])
