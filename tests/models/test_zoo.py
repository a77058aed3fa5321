"""What holds for every architecture of the zoo."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.errors import ConfigurationError
from nnray.models import (
    MLP,
    VGG,
    DenseNet,
    ImageNetResNet,
    MLPMixer,
    ResNet,
    ResNet9,
    SimpleCNN,
    Tiny10,
    ViT,
    WideResNet,
)

SMALLEST_IMAGE = {"Tiny10": 27}

ZOO = {
    "ResNet": lambda **sizes: ResNet(depth=8, width=4, **without_image_size(sizes)),
    "ResNet9": lambda **sizes: ResNet9(width=4, **without_image_size(sizes)),
    "SimpleCNN": lambda **sizes: SimpleCNN(width=4, **without_image_size(sizes)),
    "SimpleCNN, batch norm": lambda **sizes: SimpleCNN(width=4, depth=3, batch_norm=True, **without_image_size(sizes)),
    "MLP": lambda **sizes: MLP(width=8, **sizes),
    "ImageNetResNet 18": lambda **sizes: ImageNetResNet(18, width=4, **without_image_size(sizes)),
    "ImageNetResNet 50": lambda **sizes: ImageNetResNet(50, width=2, **without_image_size(sizes)),
    "WideResNet": lambda **sizes: WideResNet(10, widen_factor=1, dropout=0.3, **without_image_size(sizes)),
    "VGG": lambda **sizes: VGG(11, width=4, hidden=8, **without_image_size(sizes)),
    "VGG, batch norm": lambda **sizes: VGG(11, width=4, grid=2, hidden=8, batch_norm=True, **without_image_size(sizes)),
    "Tiny10": lambda **sizes: Tiny10(width=4, **without_image_size(sizes)),
    "DenseNet": lambda **sizes: DenseNet(16, growth_rate=4, **without_image_size(sizes)),
    "ViT": lambda **sizes: ViT(width=8, depth=2, heads=2, patch_size=patch_size(sizes), **sizes),
    "MLPMixer": lambda **sizes: MLPMixer(
        width=8, depth=2, token_hidden=4, channel_hidden=16, patch_size=patch_size(sizes), **sizes
    ),
}


def without_image_size(sizes):
    return {name: value for name, value in sizes.items() if name != "image_size"}


def patch_size(sizes):
    return 4 if sizes["image_size"] % 4 == 0 else 3


@pytest.fixture(params=ZOO.values(), ids=ZOO)
def make(request):
    torch.manual_seed(0)
    return request.param


def smallest_image(make):
    return next((smallest for name, smallest in SMALLEST_IMAGE.items() if ZOO[name] is make), 8)


@pytest.fixture
def model(make):
    return make(in_channels=3, image_size=image_size(make), num_classes=5)


@pytest.fixture
def x(make):
    return torch.randn(4, 3, image_size(make), image_size(make))


def image_size(make):
    return max(16, smallest_image(make))


@pytest.mark.parametrize(
    ("in_channels", "image_size", "num_classes"), [(1, 8, 10), (3, 32, 10), (1, 28, 10), (3, 33, 7)], ids=str
)
def test_takes_images_of_any_size_from_8_pixels_on(make, in_channels, image_size, num_classes):
    if image_size < smallest_image(make):
        pytest.skip("its convolutions have no padding")
    model = make(in_channels=in_channels, image_size=image_size, num_classes=num_classes)
    x = torch.randn(2, in_channels, image_size, image_size)
    assert model(x).shape == (2, num_classes)
    assert model(x, outputs="*")[model.names[-1]].shape == (2, num_classes)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_every_layer_equals_what_cloning_hooks_see_in_a_plain_run(model, x, training):
    model.train(training)
    hooked = copy.deepcopy(model)
    seen = {}
    for name, module in hooked.named_modules():
        if name in model.names:
            module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.clone()}))
    torch.manual_seed(1)  # of dropout
    output = hooked(x)
    torch.manual_seed(1)
    values = model(x, outputs="*")
    assert torch.equal(values[model.names[-1]], output)
    assert seen.keys() == {node.name for node in model.nodes if isinstance(node.operation, nn.Module)}
    for name, value in seen.items():
        assert torch.equal(values[name], value), name


@torch.no_grad()
def test_a_layer_alone_equals_that_layer_among_all_and_injecting_it_changes_nothing(model, x):
    model.eval()
    values = model(x, outputs="*")
    for name in model.names:
        assert torch.equal(model(x, outputs=[name])[name], values[name]), name
        assert torch.equal(model({"input": x, name: values[name]}), values[model.names[-1]]), name


@torch.no_grad()
def test_continuing_from_every_cut_reproduces_the_output(model, x):
    model.eval()
    values = model(x, outputs="*")
    # After k layers, whatever they computed is given: the rest must come out the same.
    for k in range(1, len(model.names) + 1):
        given = {name: values[name] for name in model.names[:k]}
        before = {name: value.clone() for name, value in given.items()}
        assert torch.equal(model(given), values[model.names[-1]]), model.names[k - 1]
        assert all(torch.equal(given[name], before[name]) for name in given)


def test_all_weights_get_gradients_and_all_copies_agree(model, x):
    F.cross_entropy(model(x), torch.arange(4) % 5).backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin.eval()(x), model.eval()(x))


def test_every_layer_with_weights_has_a_name(model):
    with_weights = {name for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    assert with_weights <= set(model.names)


def test_the_example_shape_is_that_of_an_image_that_the_model_takes(make):
    model = make(in_channels=2, image_size=36, num_classes=3).to("meta")
    assert model.example_shape[0] == 2
    assert model(torch.empty(2, *model.example_shape, device="meta")).shape == (2, 3)


BAD = {
    "depth below 8": (lambda: ResNet(depth=4), "depth must be 6n . 2, not 4; nearest: 8"),
    "depth between": (lambda: ResNet(depth=21), "depth must be 6n . 2, not 21; nearest: 20 and 26"),
    "depth of ImageNet": (lambda: ResNet(depth=18), "nearest: 14 and 20"),
    "no width": (lambda: ResNet(width=0), "width must be a whole number of at least 1, not 0"),
    "half a channel": (lambda: ResNet9(width=1.5), "width must be a whole number of at least 1, not 1.5"),
    "no classes": (lambda: ResNet9(num_classes=0), "num_classes must be a whole number of at least 1, not 0"),
    "even kernel": (lambda: SimpleCNN(kernel_size=4), "kernel_size must be odd, .*not 4"),
    "no convolution": (lambda: SimpleCNN(depth=0), "depth must be a whole number of at least 1, not 0"),
    "negative depth": (lambda: MLP(depth=-1), "depth must be a whole number of at least 0, not -1"),
    "no pixels": (lambda: MLP(image_size=0), "image_size must be a whole number of at least 1, not 0"),
    "ImageNet, depth of CIFAR": (lambda: ImageNetResNet(20), "depth must be one of 18, 34, 50, 101, 152, not 20"),
    "wide, depth below 10": (lambda: WideResNet(6), "depth must be 6n . 4, not 6; nearest: 10"),
    "wide, depth between": (lambda: WideResNet(30), "depth must be 6n . 4, not 30; nearest: 28 and 34"),
    "wide, all dropped": (lambda: WideResNet(dropout=1), "dropout must be at least 0 and less than 1, not 1"),
    "VGG, depth": (lambda: VGG(12), "depth must be one of 11, 13, 16, 19, not 12"),
    "VGG, negative dropout": (lambda: VGG(dropout=-0.5), "dropout must be at least 0 and less than 1, not -0.5"),
    "Tiny10, no width": (lambda: Tiny10(width=0), "width must be a whole number of at least 1, not 0"),
    "DenseNet, depth": (lambda: DenseNet(21), "depth must be 6n . 4, not 21; nearest: 16 and 22"),
    "patches of 5": (
        lambda: ViT(patch_size=5),
        "patch_size must divide image_size 32, which 5 does not; nearest: 4 and 8",
    ),
    "patch too large": (lambda: MLPMixer(patch_size=64), "patch_size must divide image_size 32, .*nearest: 32$"),
    "heads": (lambda: ViT(width=64), "heads must divide width 64, which 3 does not; nearest: 2 and 4"),
}


@pytest.mark.parametrize(("make_it", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_get_one_clear_line(make_it, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        make_it()
    assert "\n" not in str(error.value)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_resnet_depth_counts_the_layers_with_weights():
    for depth in (8, 20, 32):
        layers = [m for m in ResNet(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(layers) == depth


def test_resnet_stages_halve_the_resolution():
    values = ResNet(8, width=4)(torch.randn(1, 3, 32, 32), outputs=["stem.relu", "stage*.block0.relu", "pool"])
    assert [tuple(value.shape[1:]) for value in values.values()] == [
        (4, 32, 32),
        (4, 32, 32),
        (8, 16, 16),
        (16, 8, 8),
        (16, 1, 1),
    ]


def test_resnet9_is_that_of_cifar10_fast():
    model = ResNet9().eval()
    assert count(model) == 6_573_120  # of the network that `dawn.py` trains
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        values = model(x, outputs="*")
    assert values["layer3.add"].shape == (2, 512, 4, 4)
    assert torch.equal(values["pool"], F.max_pool2d(values["layer3.add"], 4))
    assert torch.equal(values["logits"], 0.125 * values["linear"])
    assert torch.equal(values["layer1.add"], values["layer1.pool"] + values["layer1.res2.relu"])


def test_mlp_without_hidden_layers_is_linear():
    model = MLP(depth=0, in_channels=1, image_size=8)
    assert model.names == ("flatten", "linear")
    assert count(model) == 64 * 10 + 10


def test_simple_cnn_doubles_its_channels_and_halves_its_resolution():
    values = SimpleCNN(width=4, depth=3)(torch.randn(1, 3, 32, 32), outputs=["block*.relu", "pool"])
    assert [tuple(value.shape[1:]) for value in values.values()] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (16, 4, 4)]


def test_simple_cnn_learns_digits_in_ten_epochs():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.tensor(labels)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(x), generator=generator)
    train, val = order[360:], order[:360]
    torch.manual_seed(0)
    model = SimpleCNN(in_channels=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(10):
        for batch in train[torch.randperm(len(train), generator=generator)].split(128):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        assert (model(x[val]).argmax(1) == y[val]).float().mean() > 0.95
