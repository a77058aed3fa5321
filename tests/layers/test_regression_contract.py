"""What every layer that can be fit does, whatever its form."""

import copy
import pickle

import pytest
import torch
from regression_cases import CASES, check_form, inputs, loss, made, moved, targets
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from nnray.errors import ConfigurationError, DataError
from nnray.graph import GraphModule
from nnray.graph.effects import FRESH, PURE, effect_of

every_case = pytest.mark.parametrize("name", CASES)


def fitted(name, noise=0.5, **options):
    layer = made(name).double()
    x = inputs(name)
    y = targets(layer, x, noise)
    return layer.fit([(x, y)], **options), x, y


@every_case
@pytest.mark.parametrize("ridge", [0.0, 30.0])
def test_no_other_layer_of_the_form_is_better(name, ridge):
    layer, x, y = fitted(name, ridge=ridge)
    best = loss(layer, x, y, ridge)
    start = made(name, seed=5).double()
    for seed in range(10):
        for other in (moved(start, 1.0, seed), *(moved(layer, size, seed) for size in (1e-3, 1e-2, 0.1, 1.0))):
            assert loss(other, x, y, ridge) >= best * (1 - 1e-9)


@every_case
def test_what_a_layer_of_the_form_has_made_is_recovered(name):
    layer = made(name).double()
    x = inputs(name, examples=200)
    twin = made(name, seed=3).double()
    teacher = moved(twin, 0.5, seed=4)
    with torch.no_grad():
        y = teacher(x)
    assert layer.fit([(x, y)]) is layer
    # The teacher's own orthogonal base is one of float32; with fewer outputs than inputs the fit is iterative.
    tolerance = 1e-3 if "fewer" in name else 1e-6 if "orthogonal" in name else 1e-9
    torch.testing.assert_close(layer.matrix(), teacher.matrix(), rtol=0, atol=tolerance)
    if layer.bias is not None:
        torch.testing.assert_close(layer.bias, teacher.bias, rtol=0, atol=tolerance)


@every_case
def test_fit_and_training_keep_the_form_and_lower_the_loss(name):
    layer, x, y = fitted(name)
    check_form(layer)
    layer = made(name)
    check_form(layer)
    x, y = x.float(), y.float()
    trained = list(layer.parameters())
    if not trained:
        return
    before = loss(layer, x, y)
    optimizer = torch.optim.Adam(trained, lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        (layer(x) - y).square().sum().backward()
        optimizer.step()
    check_form(layer)
    assert loss(layer, x, y) < before


@every_case
def test_batches_and_their_sizes_make_no_difference(name):
    whole, x, y = fitted(name)
    parts = made(name).double()
    batches = [*zip(x[:20].split(1), y[:20].split(1), strict=True), (x[20:20], y[20:20]), (x[20:], y[20:])]
    parts.fit(batches)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], value, rtol=0, atol=1e-9)


@every_case
def test_accumulate_then_solve_is_fit_and_can_go_on(name):
    expected, x, y = fitted(name)
    layer = made(name).double()
    layer.accumulate(x[:30], y[:30])
    layer = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    layer.solve(ridge=10.0)
    layer.accumulate(x[30:], y[30:])
    layer.solve()
    torch.testing.assert_close(layer.matrix(), expected.matrix(), rtol=0, atol=1e-9)
    layer.reset()
    with pytest.raises(DataError, match=f"{type(layer).__name__} has no examples to be fit to: call accumulate"):
        layer.solve()


@every_case
def test_fit_forgets_what_was_gathered_before_and_after(name):
    expected, x, y = fitted(name)
    layer = made(name).double()
    layer.accumulate(10 * x, -y)
    layer.fit([(x, y)])
    assert torch.equal(layer.matrix(), expected.matrix())
    with pytest.raises(DataError, match="has no examples"):
        layer.solve()
    with pytest.raises(DataError, match="has no examples"):
        layer.fit([])


@every_case
def test_predictions_have_the_mean_of_the_targets(name):
    layer, x, y = fitted(name)
    if layer.bias is not None:
        axes = [axis for axis in range(y.ndim) if axis != (1 if y.ndim == 4 else y.ndim - 1)]
        torch.testing.assert_close(layer(x).mean(axes), y.mean(axes), rtol=0, atol=1e-12)


@every_case
def test_fitting_leaves_everything_else_alone(name):
    layer = made(name)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    x = inputs(name).float().requires_grad_()
    y = targets(layer, x.detach(), 0.5)
    before = x.detach().clone(), y.clone()
    owned = {key: id(value) for key, value in [*layer.named_parameters(), *layer.named_buffers()]}
    keys = list(layer.state_dict())
    state = torch.get_rng_state()
    layer.accumulate(x, y)
    assert list(layer.state_dict()) == keys, "what is gathered is not saved"
    layer.solve()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before[0])
    assert x.grad is None
    assert torch.equal(y, before[1])
    assert {key: id(value) for key, value in [*layer.named_parameters(), *layer.named_buffers()]} == owned
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_data_of_lower_precision_are_summed_in_float64(name, dtype):
    layer = made(name)
    x = inputs(name).to(dtype)
    y = targets(layer, x.float(), 0.5).to(dtype)
    layer.fit([(x, y)])
    expected = made(name).double().fit([(x.double(), y.double())])
    torch.testing.assert_close(layer.matrix(), expected.matrix().float(), rtol=0, atol=2e-6)


@every_case
def test_activations_of_inference_mode_can_be_used(name):
    expected, x, y = fitted(name)
    layer, inside = made(name).double(), made(name).double()
    with torch.inference_mode():
        layer.accumulate(x[:30] + 0, y[:30] + 0)
        inside.fit([(x + 0, y + 0)])
    layer.accumulate(x[30:], y[30:])
    layer.solve()
    for solved in (layer, inside):
        torch.testing.assert_close(solved.matrix(), expected.matrix(), rtol=0, atol=1e-9)
        if any(parameter.requires_grad for parameter in solved.parameters()):
            solved(x).sum().backward()


@every_case
def test_accumulate_never_waits_for_the_device(name):
    """Fake tensors on a GPU: whatever asks for a value (or mixes devices) raises."""
    layer = made(name)
    shape = layer(inputs(name, examples=7).float()).shape
    with FakeTensorMode():
        x = torch.empty(7, *CASES[name].shape, device="cuda")
        y = torch.empty(shape, device="cuda")
        layer.accumulate(x, y)
        layer.accumulate(x, y)
    sums = layer._moments[1:]
    assert {total.device.type for total in sums} == {"cuda"}
    assert {total.dtype for total in sums} == {torch.float64}


@every_case
def test_it_is_an_ordinary_module(name):
    layer, x, _ = fitted(name)
    with torch.no_grad():
        expected = layer(x)
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)
        assert torch.equal(copy.deepcopy(layer)(x), expected)
        other = made(name, seed=9).double()
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(x), expected)
        assert torch.equal(functional_call(made(name, seed=9).double(), layer.state_dict(), (x,)), expected)
        graph = GraphModule({"before": nn.Identity(), "stitch": layer, "after": nn.ReLU(inplace=True)})
        values = graph(x, outputs="*")
        assert torch.equal(values["stitch"], expected)
        assert torch.equal(graph({"stitch": expected}), expected.relu())
        assert torch.equal(layer(x[:1]), expected[:1]) or torch.allclose(layer(x[:1]), expected[:1])
    assert repr(layer).startswith(type(layer).__name__ + "(in_")
    assert effect_of(layer, []) in (PURE, FRESH), "a graph need not copy its input"


@every_case
def test_it_compiles_without_graph_breaks(name):
    layer, x, _ = fitted(name)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), layer(x))


@every_case
def test_it_can_be_built_without_memory(name):
    with torch.device("meta"):
        layer = made(name)
    assert all(tensor.is_meta for tensor in [*layer.parameters(), *layer.buffers()])
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        key: value.shape for key, value in made(name).state_dict().items()
    }


@every_case
def test_data_that_do_not_fit_are_named(name):
    layer, x, y = fitted(name)
    kind = type(layer).__name__
    channels = 1 if x.ndim == 4 else x.ndim - 1
    with pytest.raises(DataError, match=f"^{kind} takes inputs of shape .*, not "):
        layer.accumulate(torch.cat([x, x], channels), y)
    with pytest.raises(DataError, match=f"^{kind} takes inputs of shape .*, not "):
        layer.accumulate(x[0, 0], y)
    with pytest.raises(DataError, match=f"^{kind} returns .* for .*, not "):
        layer.accumulate(x, torch.cat([y, y], channels))
    with pytest.raises(DataError, match=f"^{kind} returns .* for .*, not "):
        layer.accumulate(x, y[:-1])
    for batches in [(x, y), [x], [(x, y, y)]]:
        with pytest.raises(DataError, match=f"^{kind} is fit to pairs of inputs and outputs"):
            layer.fit(batches)
    x[3] = float("nan")
    with pytest.raises(DataError, match=f"^{kind} cannot be fit: the examples contain infinities or NaN$"):
        layer.fit([(x, y)])
    assert torch.isfinite(layer.matrix()).all()


@every_case
def test_options_out_of_range_are_refused(name):
    layer, x, y = fitted(name)
    with pytest.raises(ConfigurationError, match=r"^ridge must not be negative, got -1"):
        layer.fit([(x, y)], ridge=-1.0)
    with pytest.raises(ConfigurationError, match=r"^cutoff must be at least 0 and less than 1, got 1"):
        layer.fit([(x, y)], cutoff=1.0)
