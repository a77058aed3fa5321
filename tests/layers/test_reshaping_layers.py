"""Interpolation, sums, concatenation, and tokens."""

import copy
import operator
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.errors import ConfigurationError, DataError
from nnray.graph import GraphModule
from nnray.graph.effects import PURE, effect_of
from nnray.layers import Add, Concatenate, ImageToTokens, Interpolate, TokensToImage


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(3, 9), (8, 4), (2, 2)])
def test_interpolation_is_that_of_torch(mode, size):
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(Interpolate(size, mode)(x), F.interpolate(x, size, mode=mode))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_maps_of_the_right_size_are_returned_as_they_are(mode):
    x = torch.randn(2, 3, 5, 5)
    assert Interpolate(5, mode)(x) is x


def test_interpolation_to_other_sizes_is_refused():
    with pytest.raises(ConfigurationError, match=r"^size must be at least 1, got \(4, 0\)$"):
        Interpolate((4, 0))
    with pytest.raises(ConfigurationError, match=r"^mode must be 'bilinear' or 'nearest', got 'bicubic'$"):
        Interpolate(4, "bicubic")


def test_add_sums_any_number_and_leaves_them():
    values = [torch.randn(2, 3), torch.randn(2, 3), torch.randn(3)]
    before = [value.clone() for value in values]
    assert torch.equal(Add()(*values), values[0] + values[1] + values[2])
    assert Add()(values[0]) is values[0]
    assert all(map(torch.equal, values, before))


@pytest.mark.parametrize("dim", [1, -1])
def test_concatenate_is_cat(dim):
    values = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(Concatenate(dim)(*values), torch.cat(values, dim))


def test_tokens_are_the_positions_row_by_row():
    x = torch.randn(2, 3, 4, 5)
    tokens = ImageToTokens()(x)
    assert tokens.shape == (2, 20, 3)
    assert torch.equal(tokens[1, 7], x[1, :, 1, 2])


@pytest.mark.parametrize(("shape", "size"), [((4, 4), None), ((4, 4), (4, 4)), ((3, 5), (3, 5)), ((1, 1), None)])
@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_there_and_back_is_the_identity(shape, size, prefix):
    x = torch.randn(2, 3, *shape)
    tokens = torch.cat([torch.randn(2, prefix, 3), ImageToTokens()(x)], 1)
    assert torch.equal(TokensToImage(size, prefix)(tokens), x)


def test_tokens_that_make_no_image_are_counted():
    with pytest.raises(DataError, match=r"^17 tokens, 0 of them prefix, don't make a square image$"):
        TokensToImage()(torch.randn(1, 17, 3))
    with pytest.raises(DataError, match=r"^16 tokens, 1 of them prefix, don't make a 4 x 4 image$"):
        TokensToImage((4, 4), prefix=1)(torch.randn(1, 16, 3))
    with pytest.raises(DataError, match=r"^1 tokens, 2 of them prefix, don't make a square image$"):
        TokensToImage(prefix=2)(torch.randn(1, 1, 3))
    with pytest.raises(ConfigurationError, match=r"^size must be at least 1, got \(0, 4\)$"):
        TokensToImage((0, 4))
    with pytest.raises(ConfigurationError, match=r"^prefix must not be negative, got -1$"):
        TokensToImage(prefix=-1)


def graph():
    torch.manual_seed(0)
    return GraphModule(
        {
            "left": nn.Conv2d(3, 4, 3, padding=1),
            "right": (nn.Conv2d(3, 4, 3, stride=2, padding=1), "input"),
            "resized": Interpolate(8),
            "sum": (Add(), ["left", "resized", "left"]),
            "both": (Concatenate(), ["sum", "resized"]),
            "relu": nn.ReLU(inplace=True),
            "tokens": ImageToTokens(),
            "mixed": nn.Linear(8, 8),
            "image": TokensToImage(),
            "out": (operator.add, ["image", "relu"]),
        }
    )


COPIES = {
    "itself": lambda model: model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "compiled": lambda model: torch.compile(model, backend="eager", fullgraph=True),
}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_all_work_in_graphs_as_written_by_hand(make_copy):
    model = graph()
    x = torch.randn(2, 3, 8, 8)
    left, right = model.left(x), F.interpolate(model.right(x), 8, mode="bilinear")
    hidden = torch.cat([left + right + left, right], 1).relu()
    expected = model.mixed(hidden.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(2, 8, 8, 8) + hidden
    actual = make_copy(model)(x)
    assert torch.equal(actual, expected)
    actual.sum().backward()


@pytest.mark.parametrize("layer", [Add(), Concatenate(2), Interpolate(4, "nearest"), ImageToTokens(), TokensToImage()])
def test_graphs_need_no_copies_for_them(layer):
    assert effect_of(layer, []) == PURE
    assert repr(layer).startswith(type(layer).__name__ + "(")
