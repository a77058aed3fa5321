"""Networks that torchvision lacks, against their papers' formulas written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.models import MLPMixer, Tiny10, WideResNet


def prepared(model):
    """Return the model in eval mode with no weight at a special value, and its state dict."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if name.endswith("running_var") else nn.init.normal_(tensor, std=0.3)
    return model.eval(), model.state_dict()


def batch_norm(state, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))


@torch.no_grad()
def test_mlp_mixer():
    model, state = prepared(MLPMixer(width=6, depth=2, patch_size=2, token_hidden=5, channel_hidden=7, image_size=8))

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        return F.layer_norm(x, (6,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def perceptron(name, x):
        return linear(f"{name}.linear2", F.gelu(linear(f"{name}.linear1", x)))

    images = torch.randn(3, 3, 8, 8)
    patches = images.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(3, 16, 12)
    x = patches @ state["patches.weight"].reshape(6, 12).T + state["patches.bias"]
    for block in ("block0", "block1"):
        x = x + perceptron(f"{block}.token_mlp", norm(f"{block}.norm1", x).mT).mT
        x = x + perceptron(f"{block}.channel_mlp", norm(f"{block}.norm2", x))
    torch.testing.assert_close(model(images), linear("linear", norm("norm", x).mean(1)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("widen_factor", [1, 2])
def test_wide_resnet(widen_factor):
    model, state = prepared(WideResNet(16, widen_factor))

    def conv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    images = torch.randn(2, 3, 16, 16)
    x = conv("conv", images)
    for stage in (1, 2, 3):
        for index in (0, 1):
            block = f"stage{stage}.block{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            first = F.relu(batch_norm(state, f"{block}.bn1", x))
            second = F.relu(batch_norm(state, f"{block}.bn2", conv(f"{block}.conv1", first, stride)))
            has_projection = first.shape[1] != second.shape[1]
            assert (f"{block}.shortcut" in model.names) == has_projection
            shortcut = conv(f"{block}.shortcut", first, stride) if has_projection else x
            x = conv(f"{block}.conv2", second) + shortcut
    x = F.relu(batch_norm(state, "bn", x)).mean((2, 3))
    torch.testing.assert_close(model(images), F.linear(x, state["linear.weight"], state["linear.bias"]))


@torch.no_grad()
def test_tiny10():
    model, state = prepared(Tiny10())
    images = torch.randn(2, 3, 32, 32)
    x = images
    for index in range(1, 9):
        stride = 2 if index in (3, 6) else 1
        x = F.conv2d(x, state[f"conv{index}.weight"], state[f"conv{index}.bias"], stride)
        x = F.relu(batch_norm(state, f"bn{index}", x))
    assert x.shape == (2, 64, 2, 2)
    torch.testing.assert_close(model(images), F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"]))
