"""The budget of a sweep: kept while it runs, and told of; what analyses were made of stays."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import nnray
from trial_folders import START, epoch_row, write_trial

from nnray.errors import SpaceError
from nnray.space import Sweep
from nnray.store.space import note_references
from nnray.store.weights import kept_epochs
from nnray.sweep.space_keeping import SpaceKeeper
from nnray.trial.paths import StorePaths, TrialPaths

SPACE = """
name: small
base:
  model: {class_path: nnray.models.MLP, init_args: {width: 8}}
  data: nnray.data.Digits
  trainer: {max_epochs: 4}
space: {seed: {grid: [0, 1]}}
metric: val_loss
mode: min
keep_within: 1kB
"""


def test_a_sweep_keeps_its_budget(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    status, output = nnray(tmp_path, "sweep", "small.yaml", "--in-process")
    assert status == 0, output
    store = StorePaths(tmp_path / "nnray-store")
    metrics = pd.read_parquet(store.table("small", "metrics"))
    best = metrics.loc[metrics.groupby("trial")["val_loss"].idxmin()].set_index("trial")["epoch"]
    checkpoints = pd.read_parquet(store.table("small", "checkpoints"))
    for signature, epochs in checkpoints.groupby("trial")["epoch"]:
        assert set(epochs) == {best[signature], 3} == kept_epochs(store.trial(str(signature))).keys()
    told = re.search(r"space: (\d) checkpoints \(\S+ kB\) went to keep within 1 kB; the (\S+) kB that are left", output)
    assert told, output
    assert int(told[1]) == 8 - len(checkpoints)
    assert float(told[2]) == pytest.approx(checkpoints["bytes"].sum() / 1000, rel=0.01)
    status, output = nnray(tmp_path, "sweep", "small.yaml", "--in-process", "--keep-within", "1GB")
    assert "space: 0 checkpoints (0 B) went to keep within 1 GB\n" in output
    assert status == 0


def finished(store: StorePaths, position: int) -> TrialPaths:
    return write_trial(
        store,
        position=position,
        rows=[epoch_row(epoch, 0.1 * epoch) for epoch in range(3)],
        checkpoints={epoch: {"w": torch.zeros(10)} for epoch in range(3)},
        ended=START + timedelta(seconds=position),
    )


def test_what_goes_while_a_sweep_runs_is_told_to_the_books_and_analyses_keep_theirs(tmp_path: Path) -> None:
    store = StorePaths(tmp_path)
    first, second = finished(store, 0), finished(store, 1)
    (store.analysis / "mine").mkdir(parents=True)
    note_references(store.analysis / "mine", [(first.signature, 0)])
    noted: list[str] = []
    keeper = SpaceKeeper(store, "digits", 0, noted.append)
    keeper.ended(None, "completed")  # type: ignore[arg-type]
    keeper.close()
    assert list(kept_epochs(first)) == [0, 2]
    assert list(kept_epochs(second)) == [2]
    assert set(noted) == {first.signature, second.signature}


def test_what_cannot_be_removed_is_told_and_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StorePaths(tmp_path)
    finished(store, 0)

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("nnray.sweep.space_keeping.remove_all", refuse)
    keeper = SpaceKeeper(store, "digits", 0, lambda signature: None)
    keeper.close()
    assert keeper.line == "space: checkpoints could not be kept within 0 B: [Errno 30] Read-only file system"


def test_a_budget_that_is_no_size_is_refused() -> None:
    with pytest.raises(SpaceError, match="keep_within: '20' is no size: give a number and a unit, as in 20GB"):
        Sweep(name="small", keep_within="20")
