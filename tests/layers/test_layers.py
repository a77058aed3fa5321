"""Operations of nnray's own, against plain formulas."""

import pytest
import torch
import torch.nn.functional as F

from nnray.layers import GridMaxPool, PaddedShortcut, Scale


def test_scale_multiplies_and_leaves_its_input():
    x = torch.randn(2, 3)
    before = x.clone()
    assert torch.equal(Scale(0.125)(x), before / 8)
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [8, 7, 1])
def test_padded_shortcut_fits_a_strided_convolution(size):
    x = torch.randn(2, 3, size, size)
    y = PaddedShortcut(extra_channels=3, stride=2)(x)
    assert y.shape == torch.nn.Conv2d(3, 6, 3, stride=2, padding=1)(x).shape
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()


@pytest.mark.parametrize("height", [4, 8, 12])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_grid_pooling_is_adaptive_pooling_where_cells_fit(height, size):
    x = torch.randn(2, 3, height, 16)
    assert torch.equal(GridMaxPool(size)(x), F.adaptive_max_pool2d(x, size))


def test_global_pooling_of_any_size_without_padding():
    x = -torch.rand(2, 3, 5, 7) - 1
    assert torch.equal(GridMaxPool()(x), x.amax((2, 3), keepdim=True))


@pytest.mark.parametrize("height", [1, 3, 5, 9])
def test_grid_pooling_of_other_sizes_appends_zeros(height):
    x = torch.rand(2, 3, height, height)
    y = GridMaxPool(4)(x)
    assert y.shape == (2, 3, 4, 4)
    assert torch.equal(y.amax((2, 3)), x.amax((2, 3)))
    cell = -(-height // 4)
    assert torch.equal(y[:, :, 0, 0], x[:, :, :cell, :cell].amax((2, 3)))


def test_grid_pooling_has_gradients_of_each_maximum_once():
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    GridMaxPool(2)(x).sum().backward()
    assert x.grad.sum() == 2 * 3 * 4


def test_arguments_are_shown():
    assert repr(Scale(0.5)) == "Scale(factor=0.5)"
    assert repr(GridMaxPool(4)) == "GridMaxPool(size=4)"
    assert repr(PaddedShortcut(8, 2)) == "PaddedShortcut(extra_channels=8, stride=2)"
