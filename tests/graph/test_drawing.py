"""Pictures: every layer and edge is there, repeated blocks once, and a file is what its ending says."""

import copy
import operator
import re
import shutil
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import GraphModule
from nnray.graph.drawing import Drawing
from nnray.graph.drawing.folding import Repetition, fold
from nnray.graph.drawing.labels import kind, operation_label, shape_label
from nnray.graph.drawing.stacks import Stack, boxes
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

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="takes Graphviz's program dot")

MODELS = {
    "ResNet": lambda: ResNet(20, width=4),
    "ResNet9": lambda: ResNet9(width=4),
    "SimpleCNN": lambda: SimpleCNN(width=4),
    "MLP": lambda: MLP(width=8, depth=4),
    "ImageNetResNet": lambda: ImageNetResNet(34, width=4),
    "WideResNet": lambda: WideResNet(22, 1),
    "VGG": lambda: VGG(11, width=4, hidden=8),
    "Tiny10": lambda: Tiny10(width=4),
    "DenseNet": lambda: DenseNet(16, growth_rate=4),
    "ViT": lambda: ViT(width=8, depth=4, heads=2),
    "MLPMixer": lambda: MLPMixer(width=8, depth=4),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


def svg_texts(model):
    return [element.text for element in ET.fromstring(model.draw().svg).iter("{http://www.w3.org/2000/svg}text")]


def folded(model, shapes=None):
    return fold(model.nodes, model.outputs, shapes or {})


def test_every_layer_and_every_edge_is_in_the_unfolded_picture(model):
    drawing = model.draw(fold=False)
    text = drawing.mermaid
    assert len(re.findall(r":::\w+$", text, flags=re.MULTILINE)) == len(model.names)
    assert text.count(" --> ") == sum(len(node.inputs) for node in model.nodes) + 1  # and one to the output
    assert drawing.dot.count("<TR>") == len(model.names)
    for node in model.nodes:
        assert f"<B>{node.name.rpartition('.')[2]}</B>" in drawing.dot


def test_shapes_are_in_the_picture(model):
    drawing = model.draw()
    for shape in {"×".join(map(str, shape)) for shape in model.layers()["output_shape"]}:
        assert f">{shape}</TD>" in drawing.dot
        assert f"<br/>{shape}" in drawing.mermaid


def test_a_picture_is_the_same_each_time_and_for_copies(model):
    assert model.draw().dot == copy.deepcopy(model).draw().dot


def test_what_a_folded_graph_reads_is_in_it(model):
    result = folded(model)
    there = {*model.inputs, *(node.name for node in result.nodes)}
    assert all(source in there for node in result.nodes for source in node.inputs)
    assert all(name in there for name in result.outputs)


@pytest.mark.parametrize("depth", [14, 20, 56])
def test_a_deeper_resnet_has_the_same_picture_with_more_times(depth):
    model = ResNet(depth, width=4)
    n = (depth - 2) // 6
    result = folded(model, dict(zip(model.names, model.layers()["output_shape"], strict=True)))
    assert len(result.nodes) == 3 + 7 + (8 + 7) + (8 + 7) + 3
    expected = {"stage1.block0": Repetition(f"stage1.block{n - 1}", n)}
    if n > 2:
        expected |= {f"stage{stage}.block1": Repetition(f"stage{stage}.block{n - 1}", n - 1) for stage in (2, 3)}
    assert result.repetitions == expected
    assert next(node for node in result.nodes if node.name == "pool").inputs == (
        f"stage3.block{1 if n > 1 else 0}.relu",
    )


def chain(read_from, blocks=4):
    """Return blocks in a row and a last layer that reads `read_from` besides the last block."""
    block = {"linear": nn.Linear(4, 4), "relu": nn.ReLU()}
    architecture = {"stem": nn.Linear(4, 4), **{f"block{index}": dict(block) for index in range(blocks)}}
    last = f"block{blocks - 1}.relu"
    return GraphModule({**architecture, "sum": (operator.add, [last, read_from])})


def test_only_blocks_whose_inside_nobody_else_reads_are_folded():
    assert folded(chain("block3.linear")).repetitions == {"block0": Repetition("block3", 4)}
    assert folded(chain("block1.linear")).repetitions == {
        "block0": Repetition("block1", 2),
        "block2": Repetition("block3", 2),
    }
    assert folded(chain("stem")).repetitions == {"block0": Repetition("block3", 4)}


def test_an_output_within_a_block_keeps_it_in_the_picture():
    model = chain("stem").prune(["block1.relu", "sum"])
    result = folded(model)
    assert "block0" in result.repetitions
    assert result.repetitions["block0"] == Repetition("block1", 2)
    assert result.outputs == ("block0.relu", "sum")


def test_blocks_of_other_sizes_operations_or_connections_are_not_folded():
    def blocks(*layers):
        return GraphModule({f"block{index}": block for index, block in enumerate(layers)})

    linear = {"linear": nn.Linear(4, 4), "relu": nn.ReLU()}
    assert folded(blocks(linear, {"linear": nn.Linear(4, 8), "relu": nn.ReLU()})).repetitions == {}
    assert folded(blocks(linear, {"linear": nn.Linear(4, 4), "relu": nn.GELU()})).repetitions == {}
    assert folded(blocks(linear, {"linear": nn.Linear(4, 4), "gelu": nn.ReLU()})).repetitions == {}
    assert folded(blocks(linear, {"linear": nn.Linear(4, 4), "relu": (nn.ReLU(), "block0.relu")})).repetitions == {}
    assert folded(blocks(linear, dict(linear))).repetitions == {"block0": Repetition("block1", 2)}


def test_blocks_with_other_dropout_are_folded():
    blocks = {f"block{i}": {"linear": nn.Linear(4, 4), "dropout": nn.Dropout(i / 10)} for i in range(4)}
    assert folded(GraphModule(blocks)).repetitions == {"block0": Repetition("block3", 4)}


def test_blocks_that_all_read_one_layer_are_folded():
    block = {"linear": nn.Linear(4, 4), "add": (operator.add, ["linear", "stem"])}
    model = GraphModule({"stem": nn.Linear(4, 4), "first": nn.ReLU(), **{f"b{i}": dict(block) for i in range(3)}})
    assert folded(model).repetitions == {"b0": Repetition("b2", 3)}


def test_blocks_within_repeated_blocks_are_folded_too():
    stage = {f"block{index}": {"linear": nn.Linear(4, 4), "relu": nn.ReLU()} for index in range(3)}
    model = GraphModule({"stage0": dict(stage), "stage1": dict(stage), "end": nn.Linear(4, 2)})
    result = folded(model)
    assert result.repetitions == {"stage0": Repetition("stage1", 2), "stage0.block0": Repetition("stage0.block2", 3)}
    assert [node.name for node in result.nodes] == ["stage0.block0.linear", "stage0.block0.relu", "end"]
    assert result.nodes[-1].inputs == ("stage0.block0.relu",)


def test_stacks_are_chains_and_hold_every_layer_once(model):
    def stacks(box):
        for item in box.items:
            yield from [item] if isinstance(item, Stack) else stacks(item)

    found = list(stacks(boxes(model.nodes, model.outputs)))
    assert sorted(node.name for stack in found for node in stack.nodes) == sorted(model.names)
    for stack in found:
        for before, after in zip(stack.nodes, stack.nodes[1:], strict=False):
            assert after.inputs == (before.name,)
            assert [node.name for node in model.nodes if before.name in node.inputs] == [after.name]


def test_a_model_without_a_known_shape_is_drawn_without_shapes():
    drawing = GraphModule({"linear": nn.Linear(3, 4)}).draw()
    assert "<B>linear</B>" in drawing.dot
    assert "×" not in drawing.dot


def test_a_model_with_two_inputs_and_two_outputs():
    model = GraphModule(
        {"sum": (torch.add, ["a", "b"]), "twice": (torch.add, ["sum", "sum"])}, inputs=("a", "b")
    ).prune(["sum", "twice"])
    text = model.draw(example={"a": (3,), "b": (3,)}).mermaid
    assert text.count(" --> output") == 2
    assert "<b>a</b>" in text
    assert "<b>b</b>" in text


@needs_dot
def test_graphviz_renders_every_model(model):
    texts = svg_texts(model)
    for node in folded(model, {"": 0}).nodes:
        assert node.name.rpartition(".")[2] in texts


@needs_dot
@pytest.mark.parametrize("name", ['a"b', "<b>", "a&b", "a:b", "a|b", "a\\n", "ß→", "end", "node", "a{b}", "-", "a#b;"])
def test_names_with_characters_that_mean_something_elsewhere(name):
    model = GraphModule({name: {name: nn.Linear(3, 3)}, "last": nn.Linear(3, 3)})
    assert svg_texts(model).count(name) == 2
    labels = re.findall(r'\["(.*)"\]', model.draw().mermaid)
    assert all('"' not in label for label in labels)


@needs_dot
@pytest.mark.parametrize(
    ("ending", "start"),
    [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".dot", b"digraph"), (".md", b"```mermaid\nflow")],
)
def test_a_file_is_what_its_ending_says(tmp_path, ending, start):
    drawing = MLP(width=8).draw(tmp_path / f"mlp{ending}")
    assert (tmp_path / f"mlp{ending}").read_bytes().startswith(start)
    assert isinstance(drawing, Drawing)


def test_without_the_program_text_formats_still_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    model = MLP(width=8)
    with pytest.raises(GraphError, match=r"'dot' of Graphviz, which is not installed here .*; \.dot and \.md need no"):
        model.draw(tmp_path / "mlp.svg")
    assert list(tmp_path.iterdir()) == []
    model.draw(tmp_path / "mlp.dot")
    model.draw(str(tmp_path / "mlp.md"))
    bundle = model._repr_mimebundle_()
    assert bundle["text/markdown"].startswith("```mermaid\n")
    assert bundle["text/plain"] == repr(model)


@needs_dot
def test_a_notebook_shows_model_and_drawing_as_svg():
    model = MLP(width=8)
    for shown in (model, model.draw()):
        bundle = shown._repr_mimebundle_(include=None, exclude=None)
        assert "<svg" in bundle["image/svg+xml"]
        assert bundle["text/plain"] == repr(shown)


def test_a_notebook_shows_a_model_whose_own_example_does_not_fit_any_more():
    model = MLP(width=8)
    model.example_shape = (1, 2, 3)
    assert model._repr_mimebundle_() == {"text/plain": repr(model)}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.gif", r"cannot draw 'a.gif': its ending must name a format; there is: \.dot, \.md"),
        ("a", "cannot draw 'a': its ending must name a format"),
        ("a.SVG", r"did you mean '\.svg'\?"),
        ("nowhere/a.md", "cannot write 'nowhere/a.md': No such file or directory"),
    ],
)
def test_a_path_that_cannot_be_drawn_to(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraphError, match=message):
        MLP(width=8).draw(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("operation", "expected_kind", "label"),
    [
        (nn.Conv2d(3, 4, 3, stride=2), "convolution", "Conv2d 3×3 /2"),
        (nn.Conv1d(3, 4, 5), "convolution", "Conv1d 5"),
        (nn.Conv2d(3, 4, (1, 3), stride=(1, 2)), "convolution", "Conv2d 1×3 /1×2"),
        (nn.MaxPool2d(2), "pooling", "MaxPool2d 2×2 /2"),
        (nn.MaxPool1d(3, 1), "pooling", "MaxPool1d 3"),
        (nn.Linear(3, 4), "linear", "Linear"),
        (nn.BatchNorm2d(3), "normalisation", "BatchNorm2d"),
        (nn.GELU(), "activation", "GELU"),
        (nn.MultiheadAttention(4, 2), "attention", "MultiheadAttention"),
        (nn.Dropout(), "dropout", "Dropout"),
        (operator.add, "combination", "add"),
        (torch.relu, "activation", "relu"),
        (nn.Flatten(), "other", "Flatten"),
    ],
)
def test_labels_and_kinds(operation, expected_kind, label):
    assert kind(operation) == expected_kind
    assert operation_label(operation) == label


@pytest.mark.parametrize(
    ("shape", "label"),
    [((16, 32, 32), "16×32×32"), ((), "scalar"), (None, ""), (((3,), (4, 5)), "3, 4×5"), ({"a": (2,), "b": None}, "2")],
)
def test_shape_labels(shape, label):
    assert shape_label(shape) == label
