"""Each form against an independent solution of its problem: NumPy, SciPy, scikit-learn, or all possibilities tried."""

import itertools

import numpy as np
import pytest
import torch
from regression_cases import check_form, loss
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge
from torch import nn

from nnray.errors import ConfigurationError, DataError
from nnray.layers import (
    IdentityLinear,
    LowRankConv2d,
    LowRankLinear,
    MaskedConv2d,
    MaskedLinear,
    OrthogonalConv2d,
    OrthogonalLinear,
    PermutationConv2d,
    PermutationLinear,
    RegressableConv2d,
    RegressableLinear,
)
from nnray.layers.regression.orthogonal import procrustes


@pytest.fixture
def data():
    """Correlated inputs off centre and targets that depend on them, float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(8, 8, generator=generator, dtype=torch.float64) + 2
    y = x @ torch.randn(8, 5, generator=generator, dtype=torch.float64) + 1
    return x, y + torch.randn(200, 5, generator=generator, dtype=torch.float64)


def close(actual, expected, tolerance=1e-9):
    expected = torch.as_tensor(expected)
    torch.testing.assert_close(actual.detach().to(expected), expected, rtol=0, atol=tolerance)


def test_least_squares_without_bias_is_that_of_numpy(data):
    x, y = data
    layer = RegressableLinear(8, 5, bias=False).double().fit([data])
    close(layer.weight.T, np.linalg.lstsq(x.numpy(), y.numpy())[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0, 1e3])
def test_ridge_is_that_of_scikit_learn(data, alpha, bias):
    x, y = data
    reference = Ridge(alpha=alpha, fit_intercept=bias, solver="svd").fit(x.numpy(), y.numpy())
    layer = RegressableLinear(8, 5, bias=bias).double().fit([data], ridge=alpha)
    close(layer.weight, reference.coef_)
    if layer.bias is not None:
        close(layer.bias, reference.intercept_)


def test_of_many_best_solutions_it_is_that_of_least_norm(data):
    x, y = data
    x = torch.cat([x, x[:, :3] + 1, torch.zeros(200, 2), x.sum(1, keepdim=True)], 1)  # rank 8 of 14, dead units
    layer = RegressableLinear(14, 5).double().fit([(x, y)])
    reference = LinearRegression().fit(x.numpy(), y.numpy())
    close(layer.weight, reference.coef_)
    close(layer.bias, reference.intercept_)
    without = RegressableLinear(14, 5, bias=False).double().fit([(x, y)])
    close(without.weight.T, np.linalg.lstsq(x.numpy(), y.numpy(), rcond=1e-6)[0])


def test_fewer_examples_than_inputs_are_interpolated_with_least_norm(data):
    x, y = data[0][:5], data[1][:5]
    layer = RegressableLinear(8, 5).double().fit([(x, y)])
    close(layer(x), y)
    close(layer.weight, LinearRegression().fit(x.numpy(), y.numpy()).coef_)


def test_one_example_is_answered_by_the_bias(data):
    layer = RegressableLinear(8, 5).double().fit([(data[0][:1], data[1][:1])])
    assert not layer.weight.any()
    assert torch.equal(layer.bias, data[1][0])


def test_directions_that_only_rounding_fills_are_ignored(data):
    x, y = data
    x = torch.cat([x, (x[:, :1] + x[:, 1:2]) / 3], 1).float()  # dependent up to the rounding of float32
    layer = RegressableLinear(9, 5).fit([(x, y.float())])
    free = RegressableLinear(9, 5).fit([(x, y.float())], cutoff=0)
    assert layer.weight.abs().max() < 10
    assert free.weight.abs().max() > 1e3
    close(layer(x), LinearRegression().fit(data[0].numpy(), y.numpy()).predict(data[0].numpy()), 2e-5)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e5])
def test_precision_is_what_the_contract_says(condition):
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(300, 20, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))
    x = left * torch.logspace(0, -np.log10(condition), 20, dtype=torch.float64) @ right
    y = left @ torch.randn(20, 3, generator=generator, dtype=torch.float64)
    exact = torch.from_numpy(np.linalg.lstsq(x.numpy(), y.numpy())[0]).T
    rounded = torch.from_numpy(np.linalg.lstsq(x.float().double().numpy(), y.numpy())[0]).T
    layer = RegressableLinear(20, 3, bias=False).double().fit(zip(x.split(17), y.split(17), strict=True))
    with torch.no_grad():
        weight_error = (layer.weight - exact).norm() / exact.norm()
        prediction_error = (layer(x) - y).norm() / y.norm()
    assert weight_error < 2.2e-16 * condition**2
    assert prediction_error < 2.2e-16 * condition**2
    assert weight_error < 0.01 * (rounded - exact).norm() / exact.norm(), "less than float32 inputs lose by themselves"


def test_a_mean_far_from_zero_costs_no_precision(data):
    """Sums of squares about zero would lose twelve digits here, of sixteen."""
    x, y = data
    near = RegressableLinear(8, 5).double().fit(zip(x.split(32), y.split(32), strict=True))
    far = RegressableLinear(8, 5).double().fit(zip((x + 1e6).split(32), (y - 1e6).split(32), strict=True))
    close(far.weight, near.weight, 1e-7)
    close(far(x + 1e6) + 1e6, near(x), 1e-6)


CONVOLUTIONS = {
    "1x1": {"kernel_size": 1},
    "1x1 stride 2": {"kernel_size": 1, "stride": 2},
    "3x3 same": {"kernel_size": 3, "padding": 1},
    "3x2 stride (2, 1) padding (0, 1)": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)},
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_of_torch_is_recovered(options, bias):
    torch.manual_seed(0)
    x = torch.randn(12, 3, 9, 8, dtype=torch.float64)
    reference = nn.Conv2d(3, 4, bias=bias, **options).double()
    with torch.no_grad():
        y = reference(x)
    full = RegressableConv2d(3, 4, bias=bias, **options).double().fit([(x[:5], y[:5]), (x[5:], y[5:])])
    close(full.weight, reference.weight)
    close(full(x), y)
    low_rank = LowRankConv2d(3, 4, rank=min(4, full.weight[0].numel()), bias=bias, **options).double().fit([(x, y)])
    close(low_rank(x), y)
    masked = MaskedConv2d(torch.ones_like(full.weight, dtype=torch.bool), bias=bias, **without_kernel(options))
    close(masked.double().fit([(x, y)]).weight, reference.weight)


def without_kernel(options):
    return {key: value for key, value in options.items() if key != "kernel_size"}


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_full_layers_start_and_are_saved_as_those_of_torch(kind):
    ours, theirs = {
        "linear": (lambda: RegressableLinear(8, 5), lambda: nn.Linear(8, 5)),
        "convolution": (lambda: RegressableConv2d(3, 5, 3), lambda: nn.Conv2d(3, 5, 3)),
    }[kind]
    torch.manual_seed(0)
    mine = ours().state_dict()
    torch.manual_seed(0)
    reference = theirs().state_dict()
    assert mine.keys() == reference.keys()
    for key, value in reference.items():
        close(mine[key], value, 1e-7)


def test_large_batches_of_images_are_taken_in_parts(monkeypatch):
    torch.manual_seed(0)
    x, y = torch.randn(7, 2, 6, 6, dtype=torch.float64), torch.randn(7, 3, 6, 6, dtype=torch.float64)
    whole = RegressableConv2d(2, 3, 3, padding=1).double().fit([(x, y)])
    monkeypatch.setattr("nnray.layers.regression.geometry._MOST_NUMBERS", 2 * 9 * 36 * 2)
    parts = RegressableConv2d(2, 3, 3, padding=1).double()
    assert [len(rows) for rows, _ in parts._rows(x, y)] == [72, 72, 72, 36]
    close(parts.fit([(x, y)]).weight, whole.weight)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_reduced_rank_is_the_truncation_of_the_predictions(data, rank):
    """Eckart and Young: the best matrix of this rank near the least-squares predictions, which W can reach."""
    x, y = data[0] - data[0].mean(0), data[1] - data[1].mean(0)
    predictions = x @ torch.linalg.lstsq(x, y).solution
    left, values, right = torch.linalg.svd(predictions, full_matrices=False)
    best = left[:, :rank] * values[:rank] @ right[:rank]
    layer = LowRankLinear(8, 5, rank).double().fit([(x, y)])
    close(layer(x), best, 1e-8)
    truncated = torch.linalg.svd(RegressableLinear(8, 5).double().fit([(x, y)]).weight)
    with torch.no_grad():
        crude = truncated.U[:, :rank] * truncated.S[:rank] @ truncated.Vh[:rank]
        assert loss(layer, x, y) <= ((x @ crude.T - y) ** 2).sum() * (1 + 1e-12)
    up, down = layer.up.norm(dim=0), layer.down.norm(dim=1)
    close(up, down.detach())


def test_square_procrustes_is_that_of_scipy(data):
    x, y = data[0][:, :5], data[1]
    rotation, _ = orthogonal_procrustes(x.numpy(), y.numpy())
    close(OrthogonalLinear(5, 5, bias=False).double().fit([(x, y)]).matrix().T, rotation)
    x, y = x - x.mean(0), y - y.mean(0)
    rotation, strength = orthogonal_procrustes(x.numpy(), y.numpy())
    layer = OrthogonalLinear(5, 5, scaled=True).double().fit([(x, y)])
    close(layer.matrix().T, rotation * strength / (x**2).sum().item())


def test_procrustes_to_more_outputs_is_that_of_scipy_with_inputs_of_zero(data):
    x, y = data[0][:, :3], data[1]
    padded = torch.cat([x, torch.zeros(200, 2)], 1)
    rotation, _ = orthogonal_procrustes(padded.numpy(), y.numpy())
    close(OrthogonalLinear(3, 5, bias=False).double().fit([(x, y)]).matrix().T, rotation[:3])


@pytest.mark.parametrize("scaled", [False, True])
def test_procrustes_to_one_output_is_the_best_of_all_directions(data, scaled):
    x, y = data[0][:, :2] - data[0][:, :2].mean(0), data[1][:, :1] - data[1][:, :1].mean()
    layer = OrthogonalLinear(2, 1, bias=False, scaled=scaled).double().fit([(x, y)])
    angles = torch.linspace(0, 2 * torch.pi, 10_001, dtype=torch.float64)
    outputs = x @ torch.stack([angles.cos(), angles.sin()])
    scale = (outputs * y).sum(0) / (outputs**2).sum(0) if scaled else 1
    assert loss(layer, x, y) <= ((scale * outputs - y) ** 2).sum(0).min() * (1 + 1e-6)


def test_procrustes_to_fewer_outputs_improves_on_the_polar_factor(data):
    x, y = data[0] - data[0].mean(0), data[1][:, :3] - data[1][:, :3].mean(0)
    gram, cross = x.T @ x, y.T @ x
    basis, scale = procrustes(gram, cross, scaled=False)
    left, _, right = torch.linalg.svd(cross, full_matrices=False)
    assert ((x @ basis.T - y) ** 2).sum() < 0.99 * ((x @ (left @ right).T - y) ** 2).sum()
    assert scale == 1
    # At a minimum among matrices with orthonormal rows, the gradient is a symmetric combination of the rows.
    gradient = basis @ gram - cross
    multipliers = gradient @ basis.T
    assert (gradient - (multipliers + multipliers.T) / 2 @ basis).norm() < 1e-3 * cross.norm()


def test_constant_inputs_have_no_scale(data):
    layer = OrthogonalLinear(8, 5, scaled=True).double().fit([(torch.ones_like(data[0]), data[1])])
    check_form(layer)
    close(layer(torch.ones(1, 8).double())[0], data[1].mean(0))


@pytest.mark.parametrize("outputs", [5, 3, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_no_other_permutation_is_better(outputs, bias):
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):  # features of different scales, and targets that are none of them
        x = torch.randn(30, 5, generator=generator) * torch.tensor([0.3, 0.6, 1, 2, 3]) + 0.2
        y = x @ torch.randn(5, outputs, generator=generator)
        layer = PermutationLinear(5, outputs, bias).fit([(x, y)])
        if bias:
            x, y = x - x.mean(0), y - y.mean(0)
        orders = itertools.permutations(range(5), outputs)
        assert tuple(layer.index.tolist()) == min(orders, key=lambda order: (x[:, list(order)] - y).square().sum())


def test_masked_least_squares_is_that_on_each_outputs_inputs(data):
    x, y = data
    torch.manual_seed(0)
    mask = torch.rand(5, 8) < 0.5
    mask[1] = mask[0]
    mask[2] = False
    layer = MaskedLinear(mask).double().fit([data], ridge=2.0)
    for output in range(5):
        if mask[output].any():
            reference = Ridge(alpha=2.0, solver="svd").fit(x[:, mask[output]].numpy(), y[:, output].numpy())
            close(layer.weight[output, mask[output]], reference.coef_)
            close(layer.bias[output], reference.intercept_)
    assert not layer.weight[~mask].any()
    close(layer.bias[2], y[:, 2].mean())


def test_entries_outside_the_mask_are_neither_used_nor_trained():
    mask = torch.tensor([[True, False], [False, True]])
    layer = MaskedLinear(mask)
    with torch.no_grad():
        layer.weight[~mask] = float("nan")
    x = torch.randn(3, 2)
    layer(x).sum().backward()
    assert torch.isfinite(layer(x)).all()
    assert not layer.weight.grad[~mask].any()
    mask.fill_(True)
    assert not layer.mask.all(), "the layer has a copy"


def test_the_shift_is_the_difference_of_the_means(data):
    x, y = data[0][:, :5], data[1]
    layer = IdentityLinear(5, bias=True).double().fit([(x, y)])
    close(layer.bias, (y - x).mean(0))
    value = torch.randn(2, 5)
    assert IdentityLinear(5)(value) is value


def test_training_reaches_other_rotations_of_the_same_sign():
    torch.manual_seed(0)
    x = torch.randn(100, 4)
    layer = OrthogonalLinear(4, 4, bias=False)
    target, _ = torch.linalg.qr(torch.randn(4, 4))
    if target.det() * layer.base.det() < 0:
        target[0] = -target[0]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(x) - x @ target.T).square().mean().backward()
        optimizer.step()
    check_form(layer)
    close(layer.matrix(), target, 1e-3)


def test_the_two_factors_in_turn_are_the_matrix():
    layer = LowRankLinear(8, 5, 2)
    x = torch.randn(3, 8)
    close(layer(x), (x @ layer.matrix().T + layer.bias).detach(), 1e-6)


WRONG = {
    "features": (lambda: RegressableLinear(0, 5), "^in_features must be at least 1, got 0$"),
    "channels": (lambda: RegressableConv2d(3, -1), "^out_channels must be at least 1, got -1$"),
    "kernel": (lambda: RegressableConv2d(3, 4, (3, 0)), "^kernel_size must be at least 1, got 0$"),
    "stride": (lambda: RegressableConv2d(3, 4, 3, stride=0), "^stride must be at least 1, got 0$"),
    "padding": (lambda: RegressableConv2d(3, 4, 3, padding=-1), "^padding must be at least 0, got -1$"),
    "no rank": (lambda: LowRankLinear(8, 5, 0), "^rank must be at least 1, got 0$"),
    "full rank": (lambda: LowRankLinear(8, 5, 6), "^rank must be at most 5, got 6$"),
    "rank of patches": (lambda: LowRankConv2d(1, 20, 10, 3), "^rank must be at most 9, got 10$"),
    "orthogonal": (lambda: OrthogonalConv2d(0, 5), "^in_channels must be at least 1, got 0$"),
    "selection": (lambda: PermutationLinear(4, 5), "^out_features must be at most 4, got 5$"),
    "channel selection": (lambda: PermutationConv2d(4, 5), "^out_channels must be at most 4, got 5$"),
    "mask dtype": (
        lambda: MaskedLinear(torch.ones(5, 8)),
        r"^mask must be a bool tensor with 2 axes, not float32 \(5, 8\)$",
    ),
    "mask shape": (
        lambda: MaskedConv2d(torch.ones(5, 8).bool()),
        r"^mask must be a bool tensor with 4 axes, not bool \(5, 8\)$",
    ),
    "mask without outputs": (lambda: MaskedLinear(torch.ones(0, 8).bool()), "^out_features must be at least 1, got 0$"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_sizes_that_make_no_layer_are_named(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_kernel_larger_than_the_image_is_named():
    with pytest.raises(DataError, match=r"^RegressableConv2d has a kernel larger than inputs of shape \(2, 3, 4, 4\)$"):
        RegressableConv2d(3, 4, 5).accumulate(torch.randn(2, 3, 4, 4), torch.randn(2, 4, 1, 1))
