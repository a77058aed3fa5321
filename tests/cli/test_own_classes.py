"""Classes of a person's own are found in the current folder and beside the files that a command is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import nnray

import nnray as library
from nnray.errors import ConfigurationError

MODULE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width: int = 3):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""
CONFIGURATION = (
    "model: nnray_test_own.Net\ndata: FakeData\ndata.image_size: 8\ndata.in_channels: 1\ntrainer.max_epochs: 1\n"
)
ADVICE = (
    "model.class_path: cannot import nnray_test_own.Net: there is no module 'nnray_test_own'; the folder that it lies "
    "in must be importable: start in that folder, or add it to PYTHONPATH"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``spaces``, where a module lies beside a space in YAML, and the store of that space's one trial."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "spaces").mkdir()
    (folder / "spaces/nnray_test_own.py").write_text(MODULE)
    (folder / "spaces/base.yaml").write_text(CONFIGURATION)
    (folder / "spaces/study.yaml").write_text("name: study\nbase: base.yaml\nspace: {model.width: [2]}\n")
    status, output = nnray(folder, "sweep", "spaces/study.yaml", "--in-process")
    assert status == 0, output
    return folder


def stored_configuration(study: Path) -> Path:
    (path,) = study.glob("nnray-store/trials/*/config.yaml")
    return path


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("spaces", ["train", "--model", "nnray_test_own.Net", "--data", "Digits", "--print-config"]),
        (".", ["train", "--config", "spaces/base.yaml", "--print-config"]),
        ("spaces", ["graph", "nnray_test_own.Net"]),
    ],
    ids=["train here", "train a file", "graph"],
)
def test_commands_find_modules_here_and_beside_their_files(study: Path, where: str, words: list[str]) -> None:
    status, output = nnray(study / where, *words)
    assert status == 0, output


def test_a_stored_configuration_is_trained_where_its_module_is(study: Path) -> None:
    words = ["train", "--config", str(stored_configuration(study)), "--store", str(study / "nnray-store")]
    status, output = nnray(study / "spaces", *words)
    assert (status, "already trained, nothing to do" in output) == (0, True), output
    status, output = nnray(study, *words)
    assert (status, output) == (2, f"nnray: error: {ADVICE}\n")


def test_loading_a_network_whose_module_is_elsewhere_says_what_to_do(study: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        library.open(study / "nnray-store").load(stored_configuration(study).parent.name)
    assert str(error.value) == ADVICE
