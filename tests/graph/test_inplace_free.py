"""A graph without in-place operations has the same names and values, and its operations write into nothing."""

import functools
import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnray.graph import GraphModule
from nnray.graph.operations import ByMode, Call, Input, Method, Overload
from nnray.models import ResNet

OPERATIONS = {
    "module": nn.ReLU(inplace=True),
    "module in a sequence": nn.Sequential(nn.Identity(), nn.SiLU(inplace=True)),
    "module in a graph": GraphModule({"relu": nn.ReLU(inplace=True)}),
    "torch": torch.relu_,
    "functional": F.relu_,
    "method": Tensor.neg_,
    "partial": functools.partial(F.elu, alpha=0.5, inplace=True),
    "call": Call(F.relu, Input(0), inplace=True),
    "call by position": Call(F.relu, Input(0), True),
    "call of a method": Call(Method("add_"), Input(0), 1),
    "call of an overload": Call(Overload("aten.add_.Tensor"), Input(0), 1),
    "by mode": ByMode(Call(torch.relu_, Input(0)), Call(Tensor.neg_, Input(0))),
    "operator": (operator.iadd, ["input", "input"]),
    "operator with another name": (operator.iand, ["input", "input"]),
}


@pytest.mark.parametrize("layer", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_write_into_nothing(layer):
    model = GraphModule({"layer": layer}).eval()
    free = model.to_inplace_free()
    x = torch.tensor([-1, 0, 2]) if "and" in str(layer) else torch.tensor([-1.0, 0.0, 2.0])
    before = x.clone()
    (node,) = free.nodes
    value = node.operation(*[x for _ in node.inputs])
    assert torch.equal(x, before)
    assert torch.equal(value, model(x))
    assert type(model.layer) is type(free.layer)


def test_the_model_keeps_its_modules_and_shares_its_weights():
    model = ResNet(8, width=4).eval()
    free = model.to_inplace_free()
    assert model.stem.relu.inplace
    assert not any(getattr(module, "inplace", False) for module in free.modules())
    assert [id(parameter) for parameter in free.parameters()] == [id(parameter) for parameter in model.parameters()]
    x = torch.randn(2, 3, 8, 8)
    assert all(torch.equal(value, model(x, outputs=name)[name]) for name, value in free(x, outputs="*").items())
    copied = model.to_inplace_free(copy=True)
    assert copied.stem.conv.weight is not model.stem.conv.weight


def test_weights_inside_of_copied_modules_are_shared():
    block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(inplace=True))
    model = GraphModule({"a": block, "b": block})
    free = model.to_inplace_free()
    assert free.a is free.b is not block
    assert free.a[0].weight is block[0].weight
    free(torch.randn(4, 2))
    assert block[1].num_batches_tracked == 2


def test_other_functions_stay():
    for operation in (lambda x: x.add_(1), operator.itemgetter(0), torch.add, operator.inv, Tensor.zero_):
        model = GraphModule({"a": operation})
        assert model.to_inplace_free().a is operation
