"""A store with trained networks that all tests of analyses read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import analysis
from nnray.cli.main import main

SPACE = """
from nnray import Sweep, grid

sweep = Sweep(
    name="small",
    base={
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "trainer": {"max_epochs": 2},
    },
    trials=[
        {"model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 4}}},
        {"model": {"class_path": "nnray.models.MLP", "init_args": {"width": 8}}},
    ],
    space={"seed": grid(0, 1)},
)
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with a sweep of four networks, two epochs each; nobody may change what is trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "space.py").write_text(SPACE)
    assert main(["sweep", str(folder / "space.py"), "--in-process", "--store", str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture
def networks(trained: Path) -> analysis.Networks:
    """Its networks after their last epoch."""
    return analysis.open(trained, "small")


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> analysis.Networks:
    """The networks in a store of the test's own."""
    shutil.copytree(trained, tmp_path / "store", ignore=shutil.ignore_patterns("analysis"))
    return analysis.open(tmp_path / "store", "small")
