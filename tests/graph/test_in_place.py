"""In-place operations never change what a name returns, nor what the caller handed in.

The reference runs each layer of the same graph on clones of its inputs and clones what it returns.
"""

import copy
import functools
import operator
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnray.graph import GraphModule, pure
from nnray.models import MLP, ResNet, ResNet9, SimpleCNN


class AddsInside(nn.Module):
    """Write into the input somewhere inside, and return it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))

    def forward(self, x):
        return self.inner(x)


def iadd(x, y):
    x += y
    return x


def overwrite_both(x, y):
    x.mul_(0.5)
    y.add_(x)
    return x


def write_and_return_new(x):
    x.zero_()
    return x + 1


def reference(model, given):
    values = {name: value.clone() for name, value in given.items()}
    for node in model.nodes:
        if node.name not in values:
            values[node.name] = node.operation(*[values[source].clone() for source in node.inputs]).clone()
    return values


UNARY = [
    lambda: nn.ReLU(inplace=True),
    lambda: nn.ReLU(),
    lambda: nn.Conv2d(3, 3, 3, padding=1),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.Identity(),
    lambda: nn.Dropout(0.0, inplace=True),
    lambda: nn.Sequential(nn.Identity(), nn.LeakyReLU(inplace=True)),
    lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU(inplace=True)),
    lambda: nn.Sequential(nn.Identity(), nn.Hardtanh(inplace=True), nn.BatchNorm2d(3)),
    lambda: nn.Sequential(nn.ReLU(), nn.Identity()),
    lambda: AddsInside(),
    lambda: GraphModule({"relu": nn.ReLU(inplace=True), "neg": operator.neg}),
    lambda: GraphModule({"same": nn.Identity()}),
    lambda: torch.relu_,
    lambda: torch.Tensor.neg_,
    lambda: torch.sigmoid,
    lambda: functools.partial(F.relu, inplace=True),
    lambda: functools.partial(F.elu, alpha=0.5),
    lambda: lambda x: x.add_(1.0),
    lambda: lambda x: x,
    lambda: lambda x: x.transpose(2, 3),
    lambda: lambda x: x.flatten().view_as(x),
    lambda: write_and_return_new,
]
BINARY = [
    lambda: operator.add,
    lambda: operator.iadd,
    lambda: operator.mul,
    lambda: operator.imul,
    lambda: torch.Tensor.sub_,
    lambda: iadd,
    lambda: overwrite_both,
    lambda: lambda x, y: x + y,
    lambda: lambda x, y: y,
]


def random_graph(seed, unary=UNARY, binary=BINARY):
    """Layers that read any earlier values, the model's input and the same value twice included."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    architecture, names = {}, ["input"]
    for index in range(choose.randint(3, 9)):
        recent = names[-choose.choice([1, 1, 2, 3, 9]) :]
        if choose.random() < 0.65:
            layer = (choose.choice(unary)(), [choose.choice(recent)])
        else:
            layer = (choose.choice(binary)(), [choose.choice(recent), choose.choice(names)])
        names.append(f"layer{index}")
        architecture[names[-1]] = layer
    return GraphModule(architecture)


def assert_same(values, expected):
    for name, value in values.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_every_value_of_random_graphs_is_that_of_a_run_with_clones(training, grad):
    for seed in range(80):
        model = random_graph(seed).train(training)
        twin = copy.deepcopy(model)
        x = torch.randn(2, 3, 4, 4)
        before = x.clone()
        with torch.set_grad_enabled(grad):
            expected = reference(twin, {"input": x})
            values = model(x, outputs="*")
            assert_same(values, expected)
            assert_same({model.names[-1]: copy.deepcopy(twin)(x)} if not training else {}, expected)
            subset = random.Random(seed).sample(model.names, 2)
            if not training:  # in training, batch normalisation has moved on
                assert_same(model(x, outputs=subset), expected)
                assert torch.equal(model(x), expected[model.names[-1]])
        assert torch.equal(x, before), seed


def test_given_hidden_values_are_not_written_into():
    for seed in range(80):
        model = random_graph(seed).eval()
        with torch.no_grad():
            given = {"input": torch.randn(2, 3, 4, 4), random.Random(seed).choice(model.names): torch.randn(2, 3, 4, 4)}
            before = {name: value.clone() for name, value in given.items()}
            expected = reference(model, given)
            assert_same(model(given, outputs="*"), expected)
            assert torch.equal(model(given), expected[model.names[-1]])
        assert_same(given, before)


# Not here: unknown operations that keep their result for the backward pass. Where the next one is unknown too and
# writes into it, autograd raises, as it does for a network written by hand.
UNARY_KEEPING_NOTHING = [make for make in UNARY if not isinstance(make(), AddsInside)]
BINARY_KEEPING_NOTHING = [make for make in BINARY if make() is not overwrite_both]


@pytest.mark.parametrize("outputs", [None, "*"], ids=["output", "every layer"])
def test_gradients_of_random_graphs_are_those_of_a_run_with_clones(outputs):
    for seed in range(80):
        model = random_graph(seed, UNARY_KEEPING_NOTHING, BINARY_KEEPING_NOTHING).double()
        twin = copy.deepcopy(model)
        x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        expected = reference(twin, {"input": y})
        values = model(x, outputs=outputs)
        if outputs is None:
            values = {model.names[-1]: values}
        weights = {name: torch.randn_like(value) for name, value in values.items()}
        for run in (values, expected):
            total = sum((run[name] * weight).sum() for name, weight in weights.items())
            if total.requires_grad:
                total.backward()
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None:
            torch.testing.assert_close(x.grad, y.grad)
        for (name, mine), other in zip(model.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, msg=f"{seed} {name}")


def test_a_leaf_that_requires_grad_can_be_the_input_of_an_in_place_operation():
    x = torch.randn(3, requires_grad=True)
    GraphModule({"relu": nn.ReLU(inplace=True)})(x).sum().backward()
    assert torch.equal(x.grad, (x > 0).float())


def test_a_flag_switched_later_and_a_replaced_layer_are_noticed():
    model = GraphModule({"conv": nn.Conv2d(3, 3, 1), "bn": nn.BatchNorm2d(3), "act": nn.ReLU()}).eval()
    x = torch.randn(2, 3, 4, 4)
    conv = model(x, outputs="*")["conv"].clone()
    model.act.inplace = True
    assert (model(x, outputs="*")["bn"] < 0).any()
    model.bn = nn.Identity()  # now `act` would write into what `conv` returned
    values = model(x, outputs="*")
    assert torch.equal(values["conv"], conv)
    assert torch.equal(values["act"], conv.relu())


def test_a_users_module_is_left_as_it_is():
    relu = nn.ReLU(inplace=True)
    model = GraphModule({"conv": nn.Conv2d(3, 3, 1), "relu": relu})
    model(torch.randn(2, 3, 4, 4), outputs="*")
    assert model.relu is relu
    assert relu.inplace


class CountCopies(TorchDispatchMode):
    """Count the calls of `clone` that reach the dispatcher."""

    copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.copies += func is torch.ops.aten.clone.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNet(14, width=4),
        lambda: ResNet9(width=4),
        lambda: SimpleCNN(width=4, depth=3, batch_norm=True),
        lambda: MLP(width=8),
        lambda: GraphModule(
            {
                "a": nn.Conv2d(3, 3, 1),
                "b": nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(True)),
                "c": (torch.add, ["a", "b"]),
            }
        ),
        lambda: GraphModule({"a": nn.Conv2d(3, 3, 1), "b": lambda x: x * 2, "c": AddsInside(), "d": lambda x: x + 1}),
    ],
    ids=[
        "ResNet",
        "ResNet9",
        "SimpleCNN",
        "MLP",
        "Sequential that writes only inside",
        "unknown operations in a chain",
    ],
)
def test_a_plain_forward_pass_copies_nothing(make, grad):
    model = make()
    with torch.set_grad_enabled(grad), CountCopies() as count:
        model(torch.randn(2, 3, 32, 32))
    assert count.copies == 0


def test_a_dead_value_is_written_in_place():
    model = GraphModule({"conv": nn.Conv2d(3, 3, 1), "relu": nn.ReLU(inplace=True)})
    addresses = []
    model.conv.register_forward_hook(lambda module, inputs, output: addresses.append(output.data_ptr()))
    assert model(torch.randn(2, 3, 4, 4)).data_ptr() == addresses[0]


@pure
def double(x):
    return x * 2


@pure
class Triple(nn.Module):
    def forward(self, x):
        return x * 3


class WritingTriple(Triple):
    def forward(self, x):
        return x.mul_(3)


@pytest.mark.parametrize(
    ("operation", "copies"),
    [(double, 0), (Triple(), 0), (WritingTriple(), 1), (pure(lambda x: x * 4), 0), (lambda x: x * 4, 1)],
    ids=["function", "module", "subclass with its own forward", "lambda", "undeclared"],
)
def test_operations_declared_pure_are_not_protected_against(operation, copies):
    model = GraphModule({"a": nn.Identity(), "b": operation})
    x = torch.randn(3)
    with torch.no_grad(), CountCopies() as count:
        values = model(x, outputs="*")
    assert torch.equal(values["a"], x)
    assert count.copies == copies
