"""What is frozen does not change by a bit, and afterwards everything is as before."""

import copy
import pickle

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule, frozen


def network():
    torch.manual_seed(0)
    return GraphModule(
        {
            "stage1": {"conv": nn.Conv2d(1, 3, 3), "bn": nn.BatchNorm2d(3), "relu": nn.ReLU(), "drop": nn.Dropout(0.5)},
            "stage2": {"conv": nn.Conv2d(3, 3, 3), "bn": nn.BatchNorm2d(3), "square": torch.square},
            "flatten": nn.Flatten(),
            "linear": nn.Linear(48, 2),
        }
    )


@pytest.fixture
def x():
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def train(model, x, steps=3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


STAGE1 = {f"stage1.{name}" for name in ("conv.weight", "conv.bias", "bn.weight", "bn.bias")}
STATISTICS1 = {f"stage1.bn.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
SELECTIONS = {
    "everything": (None, lambda name: True),
    "star": ("*", lambda name: True),
    "a nested dict": ("stage1", lambda name: name.startswith("stage1.")),
    "a glob": (["stage1.*", "linear"], lambda name: not name.startswith("stage2.")),
    "one layer": ("stage2.bn", lambda name: name.startswith("stage2.bn.")),
    "one parameter": ("stage1.conv.weight", lambda name: name == "stage1.conv.weight"),
    "a function": ("stage2.square", lambda name: False),
}


@pytest.mark.parametrize(("layers", "is_frozen"), SELECTIONS.values(), ids=SELECTIONS)
def test_only_the_others_learn(layers, is_frozen, x):
    model = network()
    before = snapshot(model)
    if layers in (None, "*"):
        with frozen(model, layers):
            assert not model(x).requires_grad
            assert changed(model, before) == set()
        return
    with frozen(model, layers):
        train(model, x)
    assert changed(model, before) == {name for name in before if not is_frozen(name)}


def test_gradients_left_over_from_before_change_nothing(x):
    model = network()
    model(x).sum().backward()
    before = snapshot(model)
    grads = [parameter.grad for parameter in model.parameters()]
    copies = [grad.clone() for grad in grads]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with frozen(model):
        optimizer.step()
    assert changed(model, before) == set()
    assert all(parameter.grad is grad for parameter, grad in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(grad, other) for grad, other in zip(grads, copies, strict=True))


def test_frozen_normalisation_stays_in_evaluation_mode_and_dropout_as_it_is(x):
    model = network()
    with frozen(model, "stage1"):
        assert model.train() is model
        assert not model.stage1.bn.training
        assert model.stage1.drop.training
        assert model.stage2.bn.training
        model.eval()
        assert not model.stage1.drop.training


@pytest.mark.parametrize("error", [None, KeyboardInterrupt], ids=["normally", "by an exception"])
def test_everything_is_restored(error, x):
    model = network()
    model.stage1.conv.bias.requires_grad_(False)
    model.stage2.bn.eval()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    try:
        with frozen(model):
            assert not any(parameter.requires_grad for parameter in model.parameters())
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert model.train().stage2.bn.training


def test_contexts_nest(x):
    model = network()
    with frozen(model, "stage1"):
        with frozen(model, ["stage1", "stage2"]):
            model.train()
            assert not model.stage2.bn.training
        model.train()
        assert not model.stage1.bn.training
        assert model.stage2.bn.training
        assert not model.stage1.conv.weight.requires_grad
        assert model.stage2.conv.weight.requires_grad
    assert model.stage1.conv.weight.requires_grad
    assert model.train().stage1.bn.training


def test_gradients_flow_through(x):
    model = network()
    with frozen(model, ["stage2", "linear"]):
        model(x).sum().backward()
    assert model.stage1.conv.weight.grad is not None
    assert model.linear.weight.grad is None


@pytest.mark.parametrize(
    "make_copy", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_made_within_are_frozen_by_themselves(make_copy):
    model = network()
    with frozen(model):
        twin = make_copy(model)
    assert not twin.train().stage1.bn.training
    assert model.train().stage1.bn.training


def test_any_module_can_be_frozen(x):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 1))
    before = snapshot(model)
    with frozen(model, ["0", "1"]):
        train(model, x)
    assert changed(model, before) == {"3.weight", "3.bias"}


def test_shared_weights_are_frozen():
    shared = nn.Linear(2, 2)
    model = GraphModule({"a": shared, "b": shared})
    with frozen(model, "a"):
        assert not model.b.weight.requires_grad


def test_a_further_use_of_a_traced_module_stands_for_the_module():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(self.linear(x))

    model = GraphModule.trace(Twice())
    assert model.names == ("linear", "linear_1")
    with frozen(model, "linear_1"):
        assert not model.linear.weight.requires_grad


def test_torchs_classes_stay_as_they_are():
    before = nn.BatchNorm2d.train, nn.Module.train
    with frozen(network()):
        assert (nn.BatchNorm2d.train, nn.Module.train) == before
        assert nn.BatchNorm2d(2).train().training


def test_an_unknown_layer_is_refused():
    model = network()
    with pytest.raises(GraphError, match=r"no layer 'stage1\.cnov'; did you mean 'stage1\.conv"):
        frozen(model, "stage1.cnov").__enter__()
    with pytest.raises(GraphError, match="no layer matches 'stage3"):
        frozen(model, "stage3.*").__enter__()


@pytest.mark.parametrize("name", ["lstm.0", "lstm.1.0"])
def test_a_part_of_a_value_is_refused_with_the_layer_it_is_of(name):
    model = GraphModule({"lstm": nn.LSTM(3, 4), "take": (nn.ReLU(), "lstm.1.0")})
    with pytest.raises(
        GraphError, match=rf"^'{name}' is a part of the value of 'lstm.*, without parameters: freeze 'lstm"
    ):
        frozen(model, [name]).__enter__()
    with frozen(model, "lstm*"):
        assert not any(parameter.requires_grad for parameter in model.lstm.parameters())


def test_only_modules_can_be_frozen():
    model = network()
    with pytest.raises(GraphError, match=r"^only a module can be frozen, or layers of one by their names, not "):
        frozen(list(model.children())).__enter__()
    with pytest.raises(GraphError, match=r"^at least one layer must be named$"):
        frozen(model, []).__enter__()
