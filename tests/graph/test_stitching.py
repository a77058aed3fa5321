"""The first layers of one network and the last layers of another, with a layer between that fits them together."""

import copy

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nnray.data import Digits
from nnray.errors import GraphError
from nnray.graph import GraphModule, frozen, stitch
from nnray.models import MLP, ResNet, SimpleCNN


def resnet(width=4, seed=0):
    torch.manual_seed(seed)
    return ResNet(8, width=width, in_channels=1)


def transformer(features=8, tokens=4):
    return GraphModule(
        {
            "embed": nn.Linear(3, features),
            "block": nn.TransformerEncoderLayer(features, 2, 16, batch_first=True),
            "head": nn.Linear(features, tokens),
        }
    )


@pytest.fixture
def x():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", ["stem.conv", "stage1.block0.relu", "stage3.block0.relu", "pool", "flatten"])
def test_a_network_stitched_with_itself_through_an_identity_is_unchanged(layer, x):
    model = resnet().eval()
    stitched = stitch(model, layer, model, layer, nn.Identity())
    assert torch.equal(stitched(x), model(x))
    values, expected = stitched(x, outputs="*"), model(x, outputs="*")
    assert all(torch.equal(value, expected[layer if name == "via" else name[2:]]) for name, value in values.items())


def test_the_result_is_what_its_parts_are(x):
    a, b = resnet().eval(), resnet(6, seed=1).eval()
    stitched = stitch(a, "stage1.block0.relu", b, "stage1.block0.relu", example=x[:1])
    hidden = a(x, outputs="stage1.block0.relu")["stage1.block0.relu"]
    expected = b({"stage1.block0.relu": F.conv2d(hidden, stitched.via.weight, stitched.via.bias)})
    assert torch.equal(stitched(x), expected)
    assert stitched.inputs == ("input",)
    assert stitched.outputs == ("b.linear",)
    assert {name.partition(".")[0] for name in stitched.names} == {"a", "via", "b"}
    assert stitched.a.stem.conv is a.stem.conv
    assert stitched.b.linear is b.linear
    assert not stitched.training


def test_a_copy_shares_nothing(x):
    a, b, via = resnet(), resnet(seed=1), nn.Identity()
    stitched = stitch(a, "pool", b, "pool", via, copy=True)
    own = {id(parameter) for parameter in stitched.parameters()}
    assert own.isdisjoint(id(parameter) for model in (a, b) for parameter in model.parameters())
    assert stitched.via is not via


FITS = {
    "same size": ("stage1.block0.relu", "stage1.block0.relu", ["Conv2d(4, 6"]),
    "smaller": ("stage1.block0.relu", "stage2.block0.relu", ["Upsample(size=(4, 4), mode='bilinear')", "Conv2d(4, 12"]),
    "larger": ("stage3.block0.relu", "stage1.block0.relu", ["Upsample(size=(8, 8), mode='bilinear')", "Conv2d(16, 6"]),
    "vectors": ("flatten", "flatten", ["Linear(in_features=16, out_features=24"]),
    "the input": ("stem.relu", "input", ["Conv2d(4, 1"]),
}


@pytest.mark.parametrize(("layer_a", "layer_b", "layers"), FITS.values(), ids=FITS)
def test_the_stitching_layer_fits_the_shapes(layer_a, layer_b, layers, x):
    a, b = resnet().double(), resnet(6).double()
    stitched = stitch(a, layer_a, b, layer_b, example=x[:1].double())
    built = list(stitched.via) if isinstance(stitched.via, nn.Sequential) else [stitched.via]
    assert [repr(layer)[: len(start)] for layer, start in zip(built, layers, strict=True)] == layers
    value = stitched(x.double(), outputs="via")["via"]
    assert value.shape == b.eval()(x.double(), outputs=layer_b)[layer_b].shape
    assert value.dtype == torch.float64


def test_tokens_get_a_linear_layer():
    a, b = transformer(8), transformer(16)
    y = torch.randn(2, 5, 3)
    stitched = stitch(a, "block", b, "block", example=y)
    assert repr(stitched.via).startswith("Linear(in_features=8, out_features=16")
    assert stitched(y).shape == (2, 5, 4)


def test_finding_the_shapes_changes_nothing(x):
    a, b = resnet(), resnet(6)
    before = [copy.deepcopy(model.state_dict()) for model in (a, b)]
    modes = [[module.training for module in model.modules()] for model in (a, b)]
    state = torch.get_rng_state()
    stitch(a, "pool", b, "pool", nn.Identity())
    assert torch.equal(torch.get_rng_state(), state)
    stitch(a, "pool", b, "pool", example=x[:1])
    for model, state_dict, mode in zip((a, b), before, modes, strict=True):
        assert all(torch.equal(tensor, state_dict[name]) for name, tensor in model.state_dict().items())
        assert [module.training for module in model.modules()] == mode


MISTAKES = {
    "unknown layer of a": (("stem.rleu", "pool"), {}, r"no layer 'stem\.rleu'; did you mean 'stem\.relu'"),
    "unknown layer of b": (("pool", "pol"), {}, "no layer 'pol'; did you mean 'pool'"),
    "a's input": (("input", "pool"), {}, "no layer 'input'"),
    "inside a block with a shortcut": (
        ("stage1.block0.bn1", "stage1.block0.bn1"),
        {"via": nn.Identity()},
        r"'stage1\.block0\.add' also needs 'stem\.relu', which does not come from 'stage1\.block0\.bn1'",
    ),
    "b's output": (("pool", "linear"), {"via": nn.Identity()}, "the output 'linear' is also an input"),
    "an example of another size": (
        ("pool", "pool"),
        {"example": (3, 8, 8)},
        r"the example does not fit the network of 'pool': .* in the layer 'stem.conv', called with",
    ),
    "no example": (("pool", "pool"), {"example": "images"}, "an example is a tensor or the shape of one such as"),
    "image to vector": (
        ("stem.relu", "flatten"),
        {"example": torch.zeros(1, 1, 8, 8)},
        "leads from 'stem.relu', examples x 4 x 8 x 8, to 'flatten', examples x 16: give via",
    ),
    "no operation": (("pool", "pool"), {"via": "conv"}, "the layer 'via' must be a module, a function or a dict, not"),
}


@pytest.mark.parametrize(("layers", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_one_line(layers, options, message):
    with pytest.raises(GraphError, match=message) as error:
        stitch(resnet(), layers[0], resnet(), layers[1], **options)
    assert "\n" not in str(error.value)


def test_networks_that_are_no_graphs_are_refused():
    message = "^the {} network must be a GraphModule, not a Sequential: GraphModule.trace makes one of it$"
    with pytest.raises(GraphError, match=message.format("first")):
        stitch(nn.Sequential(nn.ReLU()), "0", resnet(), "pool")
    with pytest.raises(GraphError, match=message.format("second")):
        stitch(resnet(), "pool", nn.Sequential(nn.ReLU()), "0")


EXAMPLES = {
    "shape": (1, 8, 8),
    "batch": torch.zeros(3, 1, 8, 8),
    "several": (torch.zeros(3, 1, 8, 8),),
    "shapes by name": {"input": (1, 8, 8)},
    "the models' own": None,
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_stitching_layer_fits_however_the_example_is_given(example, x):
    a, b = resnet(), resnet(6)
    if example is None:
        a.example_shape = b.example_shape = (1, 8, 8)
    stitched = stitch(a, "stage2.block0.relu", b, "stem.relu", example=example)
    assert stitched(x).shape == (len(x), 10)


def test_an_example_is_needed_where_the_networks_have_none():
    model = GraphModule({"linear": nn.Linear(4, 4), "relu": nn.ReLU()})
    with pytest.raises(GraphError, match=r"an example of the networks' input is needed \(or give via\)"):
        stitch(model, "linear", model, "linear")
    with pytest.raises(GraphError, match="the example has 2 inputs, but a network has 1"):
        stitch(model, "linear", model, "linear", example=(torch.zeros(1, 4), torch.zeros(1, 4)))


def test_values_that_are_no_tensors_are_refused():
    lstm = GraphModule({"lstm": nn.LSTM(3, 4), "first": lambda pair: pair[0]})
    with pytest.raises(GraphError, match="no stitching layer fits 'lstm', a tuple: give via"):
        stitch(lstm, "lstm", lstm, "lstm", example=torch.zeros(2, 1, 3))


class Classifier(lightning.LightningModule):
    def __init__(self, model, learning_rate=0.01):
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate

    def training_step(self, batch):
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.1)


def fit(model, batches, epochs, **options):
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Classifier(model, **options)
    module.train()
    trainer.fit(module, batches)


@pytest.mark.filterwarnings("ignore:.*num_workers.*")
@pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training.*")  # those that are frozen
def test_between_two_trained_networks_only_the_stitching_layer_learns():
    torch.set_num_threads(1)
    splits = Digits().load_splits()
    images, labels = splits.train.images.float() / 8 - 1, splits.train.labels
    batches = DataLoader(TensorDataset(images, labels), 128)
    networks = []
    for seed, width in [(0, 8), (1, 12)]:
        torch.manual_seed(seed)
        networks.append(SimpleCNN(width=width, in_channels=1, batch_norm=True))
        fit(networks[-1], batches, 3)
    a, b = networks
    before = [copy.deepcopy(model.state_dict()) for model in networks]
    torch.manual_seed(2)
    stitched = stitch(a, "block1.pool", b, "block1.pool", example=images[:1])
    via = copy.deepcopy(stitched.via.state_dict())

    def accuracy(model):
        model.eval()
        with torch.no_grad():
            return (model(images).argmax(1) == labels).float().mean().item()

    at_first = accuracy(stitched)
    with frozen(stitched, ["a.*", "b.*"]):
        fit(stitched, batches, 4, learning_rate=0.03)
        assert not stitched.a.block1.bn.training
    for model, state_dict in zip(networks, before, strict=True):
        assert all(torch.equal(tensor, state_dict[name]) for name, tensor in model.state_dict().items())
    assert not any(torch.equal(tensor, via[name]) for name, tensor in stitched.via.state_dict().items())
    assert accuracy(stitched) > max(0.6, at_first)


def test_any_layer_may_be_stitched_to_any_other(x):
    mlp = MLP(width=5, in_channels=1, image_size=8)
    flatten = next(name for name in mlp.names if "flatten" in name)
    stitched = stitch(resnet(), "flatten", mlp, flatten, example=x[:1])
    assert stitched(x).shape == (4, 10)
