"""What holds for every architecture of the zoo."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnray.errors import ConfigurationError
from nnray.models import MLP, ResNet, ResNet9, SimpleCNN

ZOO = {
    "ResNet": lambda **sizes: ResNet(depth=8, width=4, **without_image_size(sizes)),
    "ResNet9": lambda **sizes: ResNet9(width=4, **without_image_size(sizes)),
    "SimpleCNN": lambda **sizes: SimpleCNN(width=4, **without_image_size(sizes)),
    "SimpleCNN, batch norm": lambda **sizes: SimpleCNN(width=4, depth=3, batch_norm=True, **without_image_size(sizes)),
    "MLP": lambda **sizes: MLP(width=8, **sizes),
}


def without_image_size(sizes):
    return {name: value for name, value in sizes.items() if name != "image_size"}


@pytest.fixture(params=ZOO.values(), ids=ZOO)
def make(request):
    torch.manual_seed(0)
    return request.param


@pytest.mark.parametrize(
    ("in_channels", "image_size", "num_classes"), [(1, 8, 10), (3, 32, 10), (1, 28, 10), (3, 33, 7)], ids=str
)
def test_takes_images_of_any_size_from_8_pixels_on(make, in_channels, image_size, num_classes):
    model = make(in_channels=in_channels, image_size=image_size, num_classes=num_classes)
    x = torch.randn(2, in_channels, image_size, image_size)
    assert model(x).shape == (2, num_classes)
    assert model(x, outputs="*")[model.names[-1]].shape == (2, num_classes)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_every_layer_equals_what_cloning_hooks_see_in_a_plain_run(make, training):
    model = make(in_channels=3, image_size=16, num_classes=5).train(training)
    hooked = copy.deepcopy(model)
    x = torch.randn(4, 3, 16, 16)
    seen = {}
    for name, module in hooked.named_modules():
        if name in model.names:
            module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.clone()}))
    output = hooked(x)
    values = model(x, outputs="*")
    assert torch.equal(values[model.names[-1]], output)
    assert len(seen) >= len(model.names) - 6  # all but the additions
    for name, value in seen.items():
        assert torch.equal(values[name], value), name


def test_continuing_from_every_cut_reproduces_the_output(make):
    model = make(in_channels=3, image_size=16, num_classes=5).eval()
    x = torch.randn(2, 3, 16, 16)
    values = model(x, outputs="*")
    # After k layers, whatever they computed is given: the rest must come out the same.
    for k in range(1, len(model.names) + 1):
        given = {name: values[name] for name in model.names[:k]}
        before = {name: value.clone() for name, value in given.items()}
        assert torch.equal(model(given), values[model.names[-1]]), model.names[k - 1]
        assert all(torch.equal(given[name], before[name]) for name in given)


def test_all_weights_get_gradients_and_all_copies_agree(make):
    model = make(in_channels=3, image_size=16, num_classes=5)
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8) % 5
    F.cross_entropy(model(x), y).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin.eval()(x), model.eval()(x))


def test_every_layer_with_weights_has_a_name(make):
    model = make(in_channels=3, image_size=16, num_classes=5)
    with_weights = {name for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    assert with_weights <= set(model.names)


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
}


@pytest.mark.parametrize(("make_it", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_get_one_clear_line(make_it, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        make_it()
    assert "\n" not in str(error.value)


def count(model: nn.Module) -> int:
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


def test_mlp_depth_and_width():
    model = MLP(width=7, depth=3, in_channels=1, image_size=8, num_classes=2)
    assert count(model) == (64 * 7 + 7) + 2 * (7 * 7 + 7) + (7 * 2 + 2)


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
