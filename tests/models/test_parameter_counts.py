"""Parameter counts of the zoo against papers, other implementations, and arithmetic."""

import pytest
import torch
import torchvision

from nnray.models import MLP, VGG, DenseNet, ImageNetResNet, MLPMixer, ResNet, Tiny10, ViT, WideResNet


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


# He et al. 2015, table 6: millions of parameters of the CIFAR-10 networks.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnet_has_as_many_parameters_as_in_the_paper(depth, millions):
    digits = 1 if depth == 110 else 2
    assert round(count(ResNet(depth)) / 1e6, digits) == millions


@pytest.mark.parametrize(("depth", "width", "channels", "classes"), [(8, 16, 3, 10), (20, 16, 1, 7), (14, 5, 3, 10)])
def test_resnet_parameter_count_by_arithmetic(depth, width, channels, classes):
    n = (depth - 2) // 6

    def conv(before, after):  # with its batch normalisation
        return 9 * before * after + 2 * after

    total = conv(channels, width) + 2 * n * conv(width, width)
    for w in (width, 2 * width):
        total += conv(w, 2 * w) + (2 * n - 1) * conv(2 * w, 2 * w)
    assert count(ResNet(depth, width, channels, classes)) == total + 4 * width * classes + classes


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_imagenet_resnet_has_as_many_parameters_as_in_torchvision(depth):
    weights = getattr(torchvision.models, f"ResNet{depth}_Weights")
    with torch.device("meta"):
        assert count(ImageNetResNet(depth)) == weights.IMAGENET1K_V1.meta["num_params"]


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_vgg_has_as_many_parameters_as_in_torchvision(depth, batch_norm):
    weights = getattr(torchvision.models, f"VGG{depth}_BN_Weights" if batch_norm else f"VGG{depth}_Weights")
    with torch.device("meta"):
        model = VGG(depth, batch_norm=batch_norm, grid=7, hidden=4096, num_classes=1000)
    assert count(model) == weights.IMAGENET1K_V1.meta["num_params"]


def test_vit_base_has_as_many_parameters_as_in_torchvision():
    with torch.device("meta"):
        model = ViT(width=768, heads=12, patch_size=16, image_size=224, num_classes=1000)
    assert count(model) == torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1.meta["num_params"]


# Zagoruyko & Komodakis 2016, tables 4 and 5: millions of parameters.
@pytest.mark.parametrize(
    ("depth", "widen_factor", "millions"),
    [
        (40, 1, 0.6),
        (40, 2, 2.2),
        (40, 4, 8.9),
        (40, 8, 35.7),
        (28, 10, 36.5),
        (22, 8, 17.2),
        (16, 8, 11.0),
        (16, 10, 17.1),
    ],
)
def test_wide_resnet_has_as_many_parameters_as_in_the_paper(depth, widen_factor, millions):
    with torch.device("meta"):
        assert round(count(WideResNet(depth, widen_factor)) / 1e6, 1) == millions


# Huang et al. 2017, table 2: millions of parameters of DenseNet-BC.
@pytest.mark.parametrize(("depth", "growth_rate", "millions"), [(100, 12, 0.8), (250, 24, 15.3), (190, 40, 25.6)])
def test_densenet_has_as_many_parameters_as_in_the_paper(depth, growth_rate, millions):
    with torch.device("meta"):
        assert round(count(DenseNet(depth, growth_rate)) / 1e6, 1) == millions


# Tolstikhin et al. 2021, table 1: millions of parameters.
@pytest.mark.parametrize(
    ("depth", "width", "patch_size", "token_hidden", "channel_hidden", "millions"),
    [
        (8, 512, 32, 256, 2048, 19),
        (8, 512, 16, 256, 2048, 18),
        (12, 768, 32, 384, 3072, 60),
        (12, 768, 16, 384, 3072, 59),
    ],
    ids=["S/32", "S/16", "B/32", "B/16"],
)
def test_mlp_mixer_has_as_many_parameters_as_in_the_paper(
    depth, width, patch_size, token_hidden, channel_hidden, millions
):
    with torch.device("meta"):
        model = MLPMixer(width, depth, patch_size, token_hidden, channel_hidden, image_size=224, num_classes=1000)
    assert int(count(model) / 1e6) == millions  # the paper cuts off


def test_vit_tiny_and_mixer_s16_have_as_many_parameters_as_in_timm():
    with torch.device("meta"):
        tiny = ViT(patch_size=16, image_size=224, num_classes=1000)
        mixer = MLPMixer(512, 8, 16, 256, 2048, image_size=224, num_classes=1000)
    assert count(tiny) == 5_717_416  # deit_tiny_patch16_224
    assert count(mixer) == 18_528_264  # mixer_s16_224


def test_tiny10_parameter_count_by_arithmetic():
    convolutions = [
        (3, 16, 3),
        (16, 16, 3),
        (16, 32, 3),
        (32, 32, 3),
        (32, 32, 3),
        (32, 64, 3),
        (64, 64, 3),
        (64, 64, 1),
    ]
    total = sum(size**2 * before * after + after + 2 * after for before, after, size in convolutions)
    assert count(Tiny10()) == total + 64 * 10 + 10


def test_mlp_depth_and_width():
    model = MLP(width=7, depth=3, in_channels=1, image_size=8, num_classes=2)
    assert count(model) == (64 * 7 + 7) + 2 * (7 * 7 + 7) + (7 * 2 + 2)
