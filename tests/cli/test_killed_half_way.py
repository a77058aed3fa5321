"""SIGKILL of a command that tidies up a store or makes its views anew: nothing is lost, and the next one finishes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from trial_folders import epoch_row, write_trial

from nnray.chaos.file_operations import Meddling, operations_of
from nnray.chaos.launcher import Launcher
from nnray.cli.main import main
from nnray.store.files import store_clock
from nnray.trial.paths import StorePaths

MOMENTS = (0.0, 0.3, 0.6, 0.95)
"""Where in the file operations of a command it is killed."""


@pytest.fixture(scope="module")
def launcher() -> Launcher:
    launcher = Launcher(main)
    launcher.warm_up()
    return launcher


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three completed trials with more checkpoints than the budget allows, and its views."""
    store = StorePaths(tmp_path_factory.mktemp("whole") / "store")
    for position in range(3):
        rows = [epoch_row(epoch, 0.1 * epoch) for epoch in range(4)]
        weights = {epoch: {"w": torch.full((500,), float(epoch))} for epoch in range(4)}
        write_trial(store, position=position, rows=rows, checkpoints=weights).resume.write_bytes(b"x" * 1000)
    store_clock(store.root)
    assert main(["rebuild", "--store", str(store.root)]) == 0
    return store.root


def killed_at_moments(launcher: Launcher, whole: Path, folder: Path, *words: str) -> Iterator[StorePaths]:
    """Yield a copy of the store in which the command was killed, for each of the moments."""
    operations = folder / "operations"
    shutil.copytree(whole, folder / "count")
    counted = Meddling(folder / "count", "count", journal=operations)
    command = launcher.start([*words, "--store", str(folder / "count")], folder / "log", counted)
    assert command.wait(120) == 0, command.output
    for moment in MOMENTS:
        store = StorePaths(folder / f"killed-{moment}")
        shutil.copytree(whole, store.root)
        kill = Meddling(store.root, "kill", int(moment * len(operations_of(operations))))
        command = launcher.start([*words, "--store", str(store.root)], folder / "log", kill)
        assert command.wait(120) == -signal.SIGKILL, command.output
        yield store


def files_of(store: Path) -> dict[str, bytes]:
    """Return the content of what no view is."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if _is_kept(path)}


def _is_kept(path: Path) -> bool:
    return path.is_file() and "trials" in path.parts and path.name != "claim.lock"


def tables_of(store: StorePaths) -> dict[str, pd.DataFrame]:
    """Return the tables, but for where each checkpoint lies."""
    kinds = ("trials", "metrics", "checkpoints")
    return {kind: pd.read_parquet(store.table("digits", kind)).drop(columns="path", errors="ignore") for kind in kinds}


def test_gc(launcher: Launcher, whole: Path, tmp_path: Path) -> None:
    words = ("gc", "digits", "--keep-within", "10kB", "--yes")
    before = files_of(whole)
    for store in killed_at_moments(launcher, whole, tmp_path, *words):
        after = files_of(tmp_path / "count")
        left = files_of(store.root)
        assert len(after) < len(before)
        assert after.items() <= left.items() <= before.items(), "what goes is whole or gone, and nothing else goes"
        assert main([*words, "--store", str(store.root)]) == 0
        assert files_of(store.root) == after
        tables = tables_of(StorePaths(tmp_path / "count"))
        assert all(table.equals(tables[kind]) for kind, table in tables_of(store).items())


def test_rebuild(launcher: Launcher, whole: Path, tmp_path: Path) -> None:
    before, tables = files_of(whole), tables_of(StorePaths(whole))
    for store in killed_at_moments(launcher, whole, tmp_path, "rebuild"):
        assert files_of(store.root) == before
        assert all(table.equals(tables[kind]) for kind, table in tables_of(store).items())
        assert main(["rebuild", "--store", str(store.root)]) == 0
        assert all(table.equals(tables[kind]) for kind, table in tables_of(store).items())
        assert [path for path in store.root.rglob("*.part") if "mlflow-queue" not in path.parts] == []
