"""``nnray graph``: the table of a model's layers, and its picture, from a shell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnray.cli.main import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_has_a_line_per_layer_and_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "ResNet", "--model.depth", "8", "--model.width=4"]) == 0
    printed = capsys.readouterr().out
    assert "stage3.block0.shortcut" in printed
    assert "16×8×8" in printed
    assert "29 layers, 5,006 parameters, 848,032 multiply-adds per example" in printed


def test_the_model_takes_from_the_shape_what_it_takes_from_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "MLP", "--model.depth", "0", "--shape", "1,8,8"]) == 0
    assert "2 layers, 650 parameters, 640 multiply-adds" in capsys.readouterr().out
    assert main(["graph", "MLP", "--model.depth", "0", "--model.num_classes", "3", "--shape", "1x8x8"]) == 0
    assert "2 layers, 195 parameters, 192 multiply-adds" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "start"), [(".dot", "digraph"), (".md", "```mermaid")])
def test_a_picture_in_a_file(ending: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "ResNet", "--model.depth", "56", "--out", f"picture{ending}"]) == 0
    assert capsys.readouterr().out == f"wrote picture{ending}\n"
    folded = Path(f"picture{ending}").read_text()
    assert folded.startswith(start)
    assert "9 times" in folded
    assert main(["graph", "ResNet", "--model.depth", "56", "--out", f"all{ending}", "--no-fold", "--table"]) == 0
    assert "853,018 parameters" in capsys.readouterr().out
    assert Path(f"all{ending}").read_text().count("Conv2d") == 55


@pytest.mark.skipif(shutil.which("dot") is None, reason="takes Graphviz's program dot")
def test_an_svg() -> None:
    assert main(["graph", "ViT", "--out", "vit.svg"]) == 0
    assert "<svg" in Path("vit.svg").read_text()


def test_any_module_that_can_be_traced(capsys: pytest.CaptureFixture[str]) -> None:
    command = "graph torchvision.models.SqueezeNet --model.num_classes 10 --shape 3,64,64"
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    assert "features.3.expand1x1" in printed
    assert "740,554 parameters" in printed  # 1,248,424 of torchvision, less 990 classes of 513


def test_without_a_shape_the_table_says_how_to_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "user_code.Tiny"]) == 0
    assert "418 parameters, --shape C,H,W tells shapes and multiply-adds" in capsys.readouterr().out


MISTAKES = {
    "no model": ("graph", "the following arguments are required: MODEL"),
    "unknown model": ("graph ResNt", "model.class_path: there is no 'ResNt' in nnray.models; did you mean 'ResNet"),
    "unknown argument": ("graph ResNet --model.dept 20", "ResNet has no such argument; did you mean 'depth'?"),
    "wrong type": ("graph ResNet --model.depth deep", "model.init_args.depth: expected int"),
    "refused": ("graph ResNet --model.depth 21", "depth must be 6n + 2, not 21"),
    "no value": ("graph ResNet --model.depth", "--model.depth: a value is missing"),
    "cannot be built": ("graph user_code.Raises", "user_code.Raises cannot be built: RuntimeError: no such luck"),
    "not of the model": ("graph ResNet --depth 8", "'--depth': an argument of the model such as --model.width 32"),
    "shape": ("graph ResNet --shape 3,32,", "--shape: sizes such as 3,32,32 are expected, not '3,32,'"),
    "shape that does not fit": ("graph ViT --shape 3,32", "the layer 'patches' cannot be run"),
    "no format": ("graph MLP --out mlp.gif", "cannot draw 'mlp.gif': its ending must name a format; there is: .dot"),
    "no folder": ("graph MLP --out nowhere/mlp.dot", "cannot write 'nowhere/mlp.dot': No such file or directory"),
    "no graph": ("graph torch.nn.Module", "cannot trace Module"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.replace(" ", "-") for mistake in MISTAKES])
def test_a_mistake_gets_one_line_and_status_2(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, message = MISTAKES[mistake]
    try:
        status = main(command.split())
    except SystemExit as left:
        status = left.code
    printed = capsys.readouterr()
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1, printed.err
    assert list(Path().iterdir()) == []


def test_a_missing_program_is_named_with_what_does_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    assert main(["graph", "MLP", "--out", "mlp.svg"]) == 2
    error = capsys.readouterr().err
    assert "'dot' of Graphviz" in error
    assert ".dot and .md need no program" in error
    assert error.count("\n") == 1
    assert main(["graph", "MLP", "--out", "mlp.dot"]) == 0
