"""A GraphModule does what any nn.Module does: copies, pickles, shares, moves and can be changed."""

import copy
import io
import operator
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from nnray.graph import GraphModule
from nnray.models import SimpleCNN


def halve(x):
    return x / 2


def small(norm=True):
    torch.manual_seed(0)
    return GraphModule(
        {
            "conv": nn.Conv2d(1, 4, 3, padding=1),
            "block": {
                "conv": nn.Conv2d(4, 4, 3, padding=1),
                "norm": nn.GroupNorm(2, 4) if not norm else nn.BatchNorm2d(4),
                "add": (operator.add, ["norm", "conv"]),
                "relu": nn.ReLU(inplace=True),
                "halve": halve,
            },
            "pool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "linear": nn.Linear(4, 3),
        }
    )


@pytest.fixture
def x():
    return torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def copy_by_torch_save(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": copy_by_torch_save,
}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("used_before", [False, True], ids=["fresh", "used"])
def test_copies_compute_the_same_with_weights_of_their_own(make_copy, used_before, x):
    model = small().eval()
    if used_before:
        model(x, outputs="*")
    twin = make_copy(model)
    expected = model(x).clone()
    assert twin.names == model.names
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(x), expected)
    assert not torch.equal(twin(x), expected)


def test_use_leaves_nothing_in_the_pickle(x):
    model = small().eval()
    before = len(pickle.dumps(model))
    model(x, outputs="*")
    assert len(pickle.dumps(model)) == before


def test_lambdas_cannot_be_pickled_but_deep_copied(x):
    model = GraphModule({"a": lambda x: x + 1})
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(model)
    assert torch.equal(copy.deepcopy(model)(x), x + 1)


def test_shallow_copies_and_replicas_run_their_own_modules(x):
    model = small().eval()
    model(x)
    replica = model._replicate_for_data_parallel()  # what nn.DataParallel does for each device
    replica.linear = nn.Linear(4, 3)
    assert torch.equal(replica(x), replica.linear(model(x, outputs="flatten")["flatten"]))
    assert not torch.equal(replica(x), model(x))


def test_state_dict_round_trip(x):
    model, other = small(), small()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(x), model.eval()(x))


def test_state_dict_is_that_of_the_same_tree_of_plain_modules():
    block = nn.Module()
    block.conv, block.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    tree = nn.Module()
    tree.conv, tree.block, tree.linear = nn.Conv2d(1, 4, 3), block, nn.Linear(4, 3)
    assert list(small().state_dict()) == list(tree.state_dict())


def test_a_module_under_two_names_is_two_layers_with_one_set_of_weights(x):
    shared = nn.Conv2d(1, 1, 3, padding=1)
    model = GraphModule({"a": shared, "relu": nn.ReLU(), "b": shared})
    values = model(x, outputs="*")
    assert torch.equal(values["b"], shared(shared(x).relu()))
    assert not torch.equal(values["a"], values["b"])
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert len(list(model.parameters())) == 2
    twin = copy.deepcopy(model)
    assert twin.a is twin.b


def test_a_layer_can_be_replaced_by_assignment(x):
    model = small().eval()
    before = model(x, outputs=["flatten", "block.relu"])
    model.linear = nn.Linear(4, 7)
    model.block.halve = torch.neg
    assert torch.equal(model(x, outputs="block.halve")["block.halve"], -before["block.relu"])
    model.block.halve = nn.Identity()
    assert torch.equal(model(x, outputs="block.halve")["block.halve"], before["block.relu"])
    assert model(x).shape == (2, 7)
    model.block._modules["halve"] = nn.Tanh()  # as torch's own quantisation assigns
    assert torch.equal(model(x, outputs="block.halve")["block.halve"], before["block.relu"].tanh())


def test_hooks_on_layers_fire(x):
    model, seen = small(), []
    model.block.relu.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(x)
    model(x, outputs="conv")
    assert len(seen) == 1


def test_moves_and_modes(x):
    model = small().double().eval()
    assert model(x.double()).dtype == torch.float64
    assert not model.block.norm.training
    assert model.train().block.norm.training


def test_functional_call_uses_the_given_parameters(x):
    model = small().eval()
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    assert torch.equal(functional_call(model, zeros, (x,)), torch.zeros(2, 3))
    values = functional_call(model, zeros, (x,), {"outputs": "block.*"})
    assert values["block.norm"].count_nonzero() == 0


@pytest.mark.parametrize("outputs", [None, "*"], ids=["output", "every layer"])
def test_vmap_over_stacked_parameters_equals_the_models_one_by_one(outputs, x):
    models = []
    for seed in range(3):
        model = small(norm=False)
        torch.manual_seed(seed)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        models.append(model)
    parameters, buffers = stack_module_state(models)

    def run(parameters, buffers):
        return functional_call(models[0], (parameters, buffers), (x,), {"outputs": outputs})

    stacked = vmap(run)(parameters, buffers)
    alone = [model(x, outputs=outputs) for model in models]
    if outputs is None:
        torch.testing.assert_close(stacked, torch.stack(alone))
    else:
        torch.testing.assert_close(stacked, {name: torch.stack([run[name] for run in alone]) for name in stacked})


def test_per_example_gradients_with_torch_func():
    model = SimpleCNN(width=4, in_channels=1, num_classes=3)
    x = torch.randn(5, 1, 8, 8)
    parameters = dict(model.named_parameters())

    def total(parameters, image):
        return functional_call(model, parameters, (image[None],)).sum()

    each = vmap(torch.func.grad(total), in_dims=(None, 0))(parameters, x)
    model(x).sum().backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(each[name].sum(0), parameter.grad)


def test_functional_call_with_a_module_that_is_used_twice():
    shared = nn.Linear(3, 3)
    model = GraphModule({"first": shared, "second": shared})
    x = torch.randn(2, 3)
    before, weight = model(x), model.first.weight
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    assert not functional_call(model, zeros, (x,), tie_weights=False).any()
    assert model.first.weight is weight
    assert torch.equal(model(x), before)
