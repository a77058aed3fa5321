"""Networks that torchvision has too: its state dict can be loaded, and then the outputs are the same."""

import pytest
import torch
import torchvision
from torch import nn

from nnray.models import VGG, DenseNet, ImageNetResNet, ViT


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_lively_statistics(module):
    """Return the module in eval mode, with batch normalisations that are not the identity."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.weight)
            nn.init.normal_(child.bias)
            nn.init.normal_(child.running_mean)
            nn.init.uniform_(child.running_var, 0.5, 2)
    return module.eval()


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_imagenet_resnet_loads_torchvisions_weights_and_agrees_bit_for_bit(depth):
    theirs = with_lively_statistics(getattr(torchvision.models, f"resnet{depth}")(num_classes=10))
    ours = ImageNetResNet(depth, num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 64)
    assert torch.equal(ours(x), theirs(x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["vgg11", "vgg13_bn", "vgg16", "vgg19_bn"])
def test_vgg_loads_torchvisions_weights_and_agrees_bit_for_bit(name):
    depth, batch_norm = int(name[3:5]), name.endswith("_bn")
    features = torchvision.models.vgg.make_layers(
        torchvision.models.vgg.cfgs[{11: "A", 13: "B", 16: "D", 19: "E"}[depth]], batch_norm
    )
    theirs = torchvision.models.VGG(features, num_classes=10)
    theirs.classifier[0], theirs.classifier[3], theirs.classifier[6] = (  # 4096 units would take seconds to draw
        nn.Linear(512 * 7 * 7, 32),
        nn.Linear(32, 32),
        nn.Linear(32, 10),
    )
    with_lively_statistics(theirs)
    ours = VGG(depth, batch_norm=batch_norm, grid=7, hidden=32).eval()
    ours.load_state_dict(ours.torchvision_state_dict(theirs.state_dict()))
    x = torch.randn(2, 3, 64, 32)
    assert torch.equal(ours(x), theirs(x))


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_vit_loads_torchvisions_weights_and_agrees(training):
    theirs = torchvision.models.VisionTransformer(
        image_size=16, patch_size=4, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=128, num_classes=10
    ).train(training)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)  # the head starts at zero, where all outputs are the same
    ours = ViT(width=32, depth=3, heads=4, patch_size=4, image_size=16).train(training)
    ours.load_state_dict(ours.torchvision_state_dict(theirs.state_dict()))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x))


@torch.no_grad()
def test_densenet_is_torchvisions_but_for_the_stem():
    theirs = torchvision.models.DenseNet(growth_rate=4, block_config=(3, 3, 3), num_init_features=8, num_classes=10)
    theirs.features.conv0 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    theirs.features.norm0, theirs.features.relu0, theirs.features.pool0 = nn.Identity(), nn.Identity(), nn.Identity()
    with_lively_statistics(theirs)
    ours = DenseNet(22, growth_rate=4).eval()
    # Both declare their weights in the order in which they are used.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(ours(x), theirs(x))
