"""``nnray status``: of a real, tiny sweep and of a large, made one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import finish, nnray, start, wait_until
from trial_folders import epoch_row, write_trial

from nnray.cli.main import main
from nnray.store.listing import SweepListing
from nnray.store.tables import write_tables
from nnray.trial.paths import StorePaths

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study", metric="val_acc", mode="max",
    base={
        "model": "user_code.Tiny",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "trainer": {"max_epochs": 2},
    },
    space={"model.width": grid(2, 4), "optimizer.lr": [0.01, -1.0], "seed": grid(range(2))},
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.py").write_text(SPACE.replace("[0.01, -1.0]", "grid(0.01, -1.0)"))
    return tmp_path


def test_of_a_sweep_from_its_start_to_its_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = folder / "nnray-store"
    sweep = start(folder, "sweep", "study.py", "--in-process")
    wait_until((store / "tables/study/trials.parquet").exists)
    status, output = nnray(folder, "status", "study", "--watch")
    assert status == 0, output
    assert finish(sweep)[0] == 1
    lines = output.splitlines()
    assert lines[-1].startswith("study: 4 of 8 trials done, 4 failed (4 error)")
    assert ", best val_acc 0." in lines[-1]
    assert len(lines) == len(set(lines))

    assert main(["status", "study", "--store", str(store), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"pending": 0, "running": 0, "completed": 4, "stopped": 0, "failed": 4}
    assert told["causes"] == {"error": 4}
    accuracies = [trial["best/val_acc"] for trial in told["finished"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert "Invalid learning rate" in told["failed"][0]["error"]
    assert {"trial", "name", "status", "epoch", "epochs", "rate", "left_s", "duration_s"} <= told["finished"][0].keys()

    chosen = "width,optimizer.lr,status,error"
    assert main(["status", "study", "--store", str(store), "--columns", chosen, "--top", "1"]) == 0
    rows = [line.rstrip().split(maxsplit=3) for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[0] == ["width", "lr", "status", "error"]
    assert rows[1][1:] == ["0.01", "completed"]
    assert rows[2][1:3] == ["-1", "failed"]
    assert rows[2][3].startswith("ValueError: Invalid learning rate")

    assert main(["status", "--store", str(store)]) == 0
    assert capsys.readouterr().out == lines[-1] + "\n"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A sweep whose table says that it has 10,000 trials, of which one has a folder."""
    store = StorePaths(tmp_path / "store")
    write_trial(store, rows=[epoch_row(0, 2.0)])
    listing = SweepListing(store, "digits")
    listing.rescan()
    write_tables(store, "digits", listing.trials())
    path = store.table("digits", "trials")
    one = pq.read_table(path)
    others = pa.Table.from_pylist(
        [
            {**row, "trial": f"{number:016}", "name": f"seed={number}", "best/val_acc": number / 1e4}
            for row in one.to_pylist()
            for number in range(9999)
        ],
        schema=one.schema,
    )
    pq.write_table(pa.concat_tables([one, others]), path)
    return store.root


def test_of_10_000_trials(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "digits", "--store", str(large), "--top", "2"]) == 0
    headline, _, *rows = capsys.readouterr().out.splitlines()
    assert headline == "digits: 10000 of 10000 trials done, best val_acc 2 (seed=0)"
    assert [row.split()[0] for row in rows] == ["seed=0", "seed=9998"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digit"], "there is no sweep 'digit'"),
        (["digits", "--columns", "widht"], "there is no column 'widht'; did you mean 'width'"),
        (["digits", "--top", "0"], "--top: 0 is not a positive number"),
        (["--watch"], "--watch and --columns are for one sweep: name it"),
        (["digits", "--watch", "--format", "json"], "--watch shows a table"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    large: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["status", *words, "--store", str(large)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
