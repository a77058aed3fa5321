"""Modules that cannot be traced: errors that name the module and the line, and submodules taken as one layer."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from tracing_reference import network

from nnray.errors import GraphError
from nnray.graph import GraphModule, frozen, merge


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.linear(x)
        return x * 2 if x.shape[0] > 1 else x


def branching_function(x):
    return x if x.shape[0] > 1 else -x


def with_branching(self, x):
    return self.block["inner"](x).relu()


def make_branching():
    return network(with_branching, block=nn.ModuleDict({"inner": Branching()}))


def test_what_cannot_be_traced_is_named_with_its_line():
    with pytest.raises(GraphError) as error:
        GraphModule.trace(make_branching())
    message = str(error.value)
    assert "cannot trace 'block.inner' (Branching)" in message
    assert "test_tracing_refusals.py:" in message
    assert "`return x * 2 if x.shape[0] > 1 else x`" in message
    assert "example=..." in message
    assert "opaque=[...]" in message
    assert "\n" not in message


def data_dependent(self, x):
    return x if x.sum() > 0 else -x


def test_what_torch_export_cannot_trace_either_is_named_too():
    inner = nn.ModuleDict({"inner": network(data_dependent, linear=nn.Linear(4, 4))})
    module = network(lambda self, x: self.block["inner"](x), block=inner)
    line = r"`return x if x\.sum\(\) > 0 else -x`"
    with pytest.raises(GraphError, match=rf"cannot trace 'block\.inner' \(Network\).*{line}"):
        GraphModule.trace(module, torch.randn(2, 4))


@pytest.mark.parametrize("opaque", ["block.inner", ["*.inner"], [Branching]], ids=["name", "glob", "class"])
def test_an_opaque_submodule_is_one_layer(opaque):
    module = make_branching()
    model = GraphModule.trace(module, opaque=opaque)
    assert model.names == ("block.inner", "relu")
    assert model.block.inner is module.block.inner
    for batch in (1, 3):
        x = torch.randn(batch, 4)
        assert torch.equal(model(x), module(x))


def test_an_opaque_function_is_one_layer():
    module = network(lambda self, x: branching_function(self.linear(x)), linear=nn.Linear(4, 4))
    model = GraphModule.trace(module, opaque=[branching_function])
    assert model.names == ("linear", "branching_function")
    assert torch.equal(model(torch.ones(1, 4)), module(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("opaque", "message"),
    [
        ("block.iner", "no submodule is called 'block.iner', to make it opaque; did you mean 'block.inner'"),
        ([nn.LSTM], "^no submodule is a LSTM, to make it opaque; there is: Branching, Linear, ModuleDict$"),
        ([nn.Linear, nn.LazyLinear], "no submodule is a LazyLinear, to make it opaque; did you mean 'Linear'"),
        ([3], "opaque lists names, globs, classes of modules and functions, not 3"),
    ],
    ids=["unknown", "no such class", "a similar class", "wrong type"],
)
def test_mistakes_in_opaque(opaque, message):
    with pytest.raises(GraphError, match=message):
        GraphModule.trace(make_branching(), opaque=opaque)


def test_only_modules_are_traced():
    with pytest.raises(GraphError, match="only a module can be traced"):
        GraphModule.trace(torch.relu)


def test_modules_without_a_forward_are_not_traced():
    with pytest.raises(GraphError, match=r"^cannot trace ModuleList, which has no forward of its own$"):
        GraphModule.trace(nn.ModuleList([nn.ReLU()]))


USES_OF_COMPILED = {
    "trace": GraphModule.trace,
    "merge": lambda compiled: merge({"a": compiled}),
    "frozen": lambda compiled: frozen(compiled, "relu").__enter__(),
}


@pytest.mark.parametrize("use", USES_OF_COMPILED.values(), ids=USES_OF_COMPILED)
def test_what_torch_compile_returns_is_refused_with_what_to_give_instead(use):
    compiled = torch.compile(GraphModule({"relu": nn.ReLU()}), backend="eager")
    with pytest.raises(GraphError, match=r"^OptimizedModule is what torch\.compile returns: give .*_orig_mod"):
        use(compiled)


def writes_into_a_view(self, x):
    y = self.conv(x)
    y.flatten(1).mul_(2)
    return y


def writes_into_a_buffer(self, x):
    self.count.add_(1)
    return self.conv(x)


def assigns_to_a_buffer(self, x):
    self.count = self.count + 1
    return self.conv(x) + self.count


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 2, 2)], ids=["no example", "example"])
@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (writes_into_a_view, "'mul' in 'inner' writes in place into memory of 'inner_conv', which is read later on"),
        (writes_into_a_buffer, "'add' in 'inner' writes in place into 'inner.count', which a graph cannot follow"),
        (assigns_to_a_buffer, "the code assigns to 'inner.count', which a graph cannot follow"),
    ],
    ids=["view", "buffer", "assignment"],
)
def test_writing_that_a_graph_cannot_follow_is_refused(forward, message, example):
    inner = network(forward, conv=nn.Conv2d(3, 3, 1), count=nn.Buffer(torch.zeros(1)))
    count = inner.count
    with pytest.raises(GraphError, match=message):
        GraphModule.trace(nn.Sequential(OrderedDict(inner=inner)), example)
    assert inner.count is count
