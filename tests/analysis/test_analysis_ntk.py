"""The neural tangent kernel against gradients one by one."""

from __future__ import annotations

import pytest
import torch

from analysis.pool import Actors
from analysis.similarity import linear_cka
from analysis.similarity.ntk import kernel_alignment, ntk
from analysis.stimuli import make_stimuli
from nnray import models


def by_hand(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    rows = []
    for image in images:
        outputs = model(image[None])[0]
        parameters = list(model.parameters())
        rows.append(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(output, parameters, retain_graph=True)]).double()
                for output in outputs
            ]
        )
    return torch.tensor([[sum(float(a @ b) for a, b in zip(x, y, strict=True)) for y in rows] for x in rows])


@pytest.mark.parametrize(
    "make",
    [lambda: models.SimpleCNN(width=2, in_channels=1), lambda: models.ResNet(depth=8, width=2, in_channels=1)],
    ids=["cnn", "resnet"],
)
def test_the_kernel_is_that_of_gradients_one_by_one(make):
    torch.manual_seed(0)
    model, images = make().eval(), torch.randn(5, 1, 8, 8)
    expected = by_hand(model, images)
    torch.testing.assert_close(ntk(model, images), expected.double(), rtol=1e-5, atol=1e-6)


def test_a_sketch_keeps_inner_products_as_well_as_it_says():
    torch.manual_seed(0)
    model, images = models.MLP(width=16, in_channels=1, image_size=8), torch.randn(20, 1, 8, 8)
    exact, sketched = ntk(model, images), ntk(model, images, sketch=400)
    scale = torch.outer(exact.diagonal(), exact.diagonal()).sqrt()
    off = ((sketched - exact) / scale).square().mean().sqrt()
    assert 0 < off < (2 / 400) ** 0.5


def test_the_alignment_is_that_of_features():
    x, y = torch.randn(30, 4), torch.randn(30, 6)
    assert kernel_alignment(x @ x.T, 3 * y @ y.T) == pytest.approx(linear_cka(x, y), rel=1e-4)


def test_networks_are_aligned_with_themselves_and_the_values_are_those_of_the_functions(copied, ray_session):
    result = copied.ntk_alignment(n=12)
    images = torch.tensor(make_stimuli(copied, "test", 12).images)
    kernels = {network.trial: ntk(network.load(), images) for network in copied}
    for row in result.itertuples():
        assert row.value == pytest.approx(kernel_alignment(kernels[row.trial_a], kernels[row.trial_b]), rel=1e-6)
    assert result.matrix().to_numpy().diagonal() == pytest.approx(1.0)
    assert copied.ntk_alignment(n=12, name="there", actors=Actors(2)).equals(result)
