"""A trial whose folder is damaged costs that trial and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from nnray.cli.main import main
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={"model": "user_code.Tiny", "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 512}},
          "trainer": {"max_epochs": 1}},
    space={"seed": grid(range(SEEDS))},
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep of two trials that have been trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    (tmp_path / "study.py").write_text(SPACE.replace("SEEDS", "2"))
    assert main(["sweep", "study.py", "--in-process"]) == 0
    (tmp_path / "study.py").write_text(SPACE.replace("SEEDS", "3"))
    return tmp_path


def first_trial(folder: Path) -> TrialPaths:
    table = pd.read_parquet(folder / "nnray-store/tables/study/trials.parquet")
    return StorePaths(folder / "nnray-store").trial(table.loc[table["config/seed"] == 0, "trial"].item())


def test_a_sweep_names_it_trains_the_others_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = first_trial(folder)
    victim.record.write_text('{"signature": ')
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 1
    captured = capsys.readouterr()
    assert "study: 3 trials: 1 complete, 0 to resume, 1 to run, 1 damaged\n" in captured.out
    assert f"damaged: seed=0 ({victim.signature}): {victim.record} is damaged: " in captured.out
    assert "study: 2 of 3 trials complete, 1 of them now" in captured.out
    assert "no longer listed" not in captured.out
    assert "Traceback" not in captured.out + captured.err
    assert victim.record.read_text() == '{"signature": '
    table = pd.read_parquet(folder / "nnray-store/tables/study/trials.parquet")
    assert table["config/seed"].tolist() == [1, 2]
    assert set(table["status"]) == {"completed"}

    victim.record.unlink()
    assert main(["sweep", "study.py", "--in-process"]) == 0
    record = Record.read(victim.record)
    assert record is not None
    assert record.status == "completed"


def test_a_search_takes_it_for_a_failure_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    search = SPACE.replace("grid(range(SEEDS))", "tune.randint(0, 1000)").replace(
        'name="study"', 'name="study", search="random", metric="val_acc", num_samples=SEEDS'
    )
    (tmp_path / "study.py").write_text("from ray import tune\n" + search.replace("SEEDS", "2"))
    assert main(["sweep", "study.py", "--in-process"]) == 0
    victim = min((tmp_path / "nnray-store/trials").iterdir()) / "record.json"
    victim.write_text("{")
    (tmp_path / "study.py").write_text("from ray import tune\n" + search.replace("SEEDS", "3"))
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 1
    captured = capsys.readouterr()
    assert f"({victim.parent.name}): {victim} is damaged: " in captured.out
    assert "study: 2 of 3 trials complete, 1 of them now" in captured.out
    assert victim.read_text() == "{"


def test_the_order_of_a_population_that_is_no_order_fails_its_trial_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = first_trial(folder)
    victim.record.unlink()
    victim.exploit.write_text('{"from": ')
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 1
    captured = capsys.readouterr()
    assert f"failed: seed=0 ({victim.signature}): StoreError: {victim.exploit} is damaged: " in captured.out
    assert "study: 2 of 3 trials complete" in captured.out
    record = Record.read(victim.record)
    assert record is not None
    assert (record.status, record.cause) == ("failed", "error")


def test_metrics_that_were_changed_are_named_and_in_no_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = first_trial(folder)
    victim.metrics.write_bytes(victim.metrics.read_bytes().replace(b'"epoch": 0', b'"epoch": 1'))
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 1
    printed = capsys.readouterr().out
    assert "study: 2 of 3 trials complete, 1 of them now" in printed
    line = f"{victim.metrics} is damaged: line 1 is not what was written (its checksum differs)"
    assert f"1 trial folders are damaged and in no table, {victim.signature} for one: " in printed
    assert line.removeprefix(str(folder)) in printed
    assert main(["info", victim.signature]) == 0
    assert capsys.readouterr().out.count("is damaged") == 1
    table = pd.read_parquet(folder / "nnray-store/tables/study/trials.parquet")
    assert table["config/seed"].tolist() == [1, 2]

    shutil.rmtree(victim.folder)
    assert main(["sweep", "study.py", "--in-process"]) == 0
