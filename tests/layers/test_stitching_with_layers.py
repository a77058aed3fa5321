"""Two trained networks and a layer between them: what least squares and training make of it."""

import pytest
import torch
import torch.nn.functional as F
from regression_cases import check_form
from torch import nn

from nnray.data import Digits
from nnray.graph import frozen, stitch
from nnray.layers import (
    IdentityConv2d,
    IdentityLinear,
    Interpolate,
    LowRankConv2d,
    LowRankLinear,
    OrthogonalConv2d,
    RegressableConv2d,
    RegressableLinear,
)
from nnray.models import MLP, SimpleCNN


@pytest.fixture(scope="module")
def batches():
    data = Digits()
    return {"train": list(data.train_dataloader()), "test": list(data.test_dataloader())}


def train(model, parameters, batches, epochs, learning_rate):
    optimizer = torch.optim.Adam(parameters, learning_rate)
    model.train()
    for _ in range(epochs):
        for x, y in batches["train"]:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()


@torch.no_grad()
def accuracy(model, batches):
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in batches["test"])
    return right / sum(len(y) for _, y in batches["test"])


@torch.no_grad()
def training_loss(model, batches):
    return sum(F.cross_entropy(model(x), y).item() for x, y in batches["train"])


@pytest.fixture(scope="module")
def networks(batches):
    torch.manual_seed(0)
    made = {
        "narrow": SimpleCNN(width=6, in_channels=1, batch_norm=True),
        "wide": SimpleCNN(width=10, in_channels=1, batch_norm=True),
        "narrow mlp": MLP(width=24, in_channels=1, image_size=8),
        "wide mlp": MLP(width=40, in_channels=1, image_size=8),
    }
    for model in made.values():
        train(model, model.parameters(), batches, epochs=5, learning_rate=1e-2)
        assert accuracy(model, batches) > 0.9
    return made


def layers_before_the_last(model):
    return model.names[:-1]


@pytest.fixture(scope="module")
def images(batches):
    return torch.cat([x for x, _ in batches["train"]])


@pytest.mark.parametrize("name", ["narrow", "wide mlp"])
def test_through_the_identity_a_network_is_itself(networks, images, name):
    model = networks[name]
    with torch.no_grad():
        values = model(images[:50], outputs="*")
        expected = model(images[:50])
        for layer in layers_before_the_last(model):
            kind = IdentityConv2d if values[layer].ndim == 4 else IdentityLinear
            stitched = stitch(model, layer, model, layer, via=kind(values[layer].shape[1]))
            assert torch.equal(stitched(images[:50]), expected), layer


@pytest.mark.parametrize("name", ["narrow", "wide mlp"])
def test_through_least_squares_activations_are_reproduced_to_float_precision(networks, images, name):
    model = networks[name]
    with torch.no_grad():
        values = model(images, outputs="*")
        expected = model(images)
        for layer in layers_before_the_last(model):
            value = values[layer]
            kind = RegressableConv2d if value.ndim == 4 else RegressableLinear
            via = kind(value.shape[1], value.shape[1]).fit([(value, value)])
            assert (via(value) - value).abs().max() < 5e-6 * value.abs().max(), layer
            stitched = stitch(model, layer, model, layer, via=via)
            torch.testing.assert_close(stitched(images), expected, rtol=0, atol=1e-4)


STITCHES = {
    "1x1 convolution": ("narrow", "wide", "block1.relu", lambda: RegressableConv2d(6, 10)),
    "after batch normalisation": ("narrow", "wide", "block2.bn", lambda: RegressableConv2d(12, 20)),
    "to fewer channels": ("wide", "narrow", "block2.relu", lambda: RegressableConv2d(20, 12)),
    "3x3 convolution": ("narrow", "wide", "block1.relu", lambda: RegressableConv2d(6, 10, 3, padding=1)),
    "low rank": ("narrow", "wide", "block1.relu", lambda: LowRankConv2d(6, 10, rank=3)),
    "scaled orthogonal": ("narrow", "wide", "block1.relu", lambda: OrthogonalConv2d(6, 10, scaled=True)),
    "low rank between perceptrons": ("narrow mlp", "wide mlp", "hidden1.relu", lambda: LowRankLinear(24, 40, rank=4)),
}


@pytest.mark.parametrize(("name_a", "name_b", "layer", "make"), STITCHES.values(), ids=STITCHES)
def test_least_squares_is_far_above_chance_and_training_is_better(networks, batches, name_a, name_b, layer, make):
    a, b = networks[name_a], networks[name_b]
    before = [value.clone() for model in (a, b) for value in model.state_dict().values()]
    torch.manual_seed(1)
    via = make()
    stitched = stitch(a, layer, b, layer, via=via).eval()
    assert accuracy(stitched, batches) < 0.5

    with torch.no_grad():
        via.fit((a(x, outputs=layer)[layer], b(x, outputs=layer)[layer]) for x, _ in batches["train"])
    by_least_squares, loss = accuracy(stitched, batches), training_loss(stitched, batches)
    assert by_least_squares > 0.4
    check_form(via)

    with frozen(stitched, ["a.*", "b.*"]):
        train(stitched, via.parameters(), batches, epochs=6, learning_rate=5e-3)
    assert training_loss(stitched, batches) < 0.8 * loss
    assert accuracy(stitched, batches) > by_least_squares
    check_form(via)

    after = [value for model in (a, b) for value in model.state_dict().values()]
    assert all(map(torch.equal, before, after))


def test_full_least_squares_between_perceptrons_leaves_little_to_train(networks, batches):
    """Nothing is claimed of the accuracy after training, which goes up or down by an image or two."""
    a, b = networks["narrow mlp"], networks["wide mlp"]
    layer = "hidden1.relu"
    via = RegressableLinear(24, 40)
    with torch.no_grad():
        via.fit((a(x, outputs=layer)[layer], b(x, outputs=layer)[layer]) for x, _ in batches["train"])
    stitched = stitch(a, layer, b, layer, via=via)
    assert accuracy(stitched, batches) > 0.85
    loss = training_loss(stitched, batches)
    with frozen(stitched, ["a.*", "b.*"]):
        train(stitched, via.parameters(), batches, epochs=3, learning_rate=1e-3)
    assert training_loss(stitched, batches) < loss


def test_layers_of_different_size_through_interpolation(networks, batches):
    a, b = networks["narrow"], networks["wide"]
    resize, convolution = Interpolate(4), RegressableConv2d(6, 10)
    with torch.no_grad():
        convolution.fit(
            (resize(a(x, outputs="block1.relu")["block1.relu"]), b(x, outputs="block1.pool")["block1.pool"])
            for x, _ in batches["train"]
        )
    stitched = stitch(a, "block1.relu", b, "block1.pool", via=nn.Sequential(resize, convolution))
    assert accuracy(stitched, batches) > 0.4
