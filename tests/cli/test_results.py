from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from trial_folders import epoch_row, write_trial

from nnray.cli.main import main
from nnray.store.listing import SweepListing
from nnray.store.tables import write_tables
from nnray.trial.paths import StorePaths


@pytest.fixture
def store(tmp_path) -> Path:
    paths = StorePaths(tmp_path / "store")
    for position, (width, seed) in enumerate([(8, 0), (8, 1), (16, 0), (16, 1)]):
        accuracy = 0.5 + width / 100 + seed / 10
        config = {"model.init_args.width": width, "seed": seed}
        options = {"status": "failed", "error": "it broke\nbadly"} if position == 1 else {}
        write_trial(paths, position=position, config=config, rows=[epoch_row(0, accuracy)], **options)
    listing = SweepListing(paths, "digits")
    listing.rescan()
    write_tables(paths, "digits", listing.trials())
    return paths.root


def results(store: Path, *words: str) -> int:
    return main(["results", "digits", "--store", str(store), *words])


def frame(capsys) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


def test_the_best_trials_come_first(store, capsys):
    assert results(store, "--format", "csv") == 0
    found = frame(capsys)
    assert list(found["val_acc"]) == pytest.approx([0.76, 0.68, 0.66, 0.58])
    assert {"trial", "config/model.init_args.width", "best/val_acc", "started"} <= set(found.columns)
    results(store, "--format", "csv", "--sort", "val_loss", "--top", "1")
    assert list(frame(capsys)["val_loss"]) == pytest.approx([0.24])
    results(store, "--format", "csv", "--reverse")
    assert list(frame(capsys)["val_acc"]) == pytest.approx([0.58, 0.66, 0.68, 0.76])
    results(store, "--format", "csv", "--sort", "width", "--columns", "width,config/seed")
    assert frame(capsys).to_numpy().tolist() == [[8, 0], [8, 1], [16, 0], [16, 1]]


def test_a_condition_chooses_trials(store, capsys):
    assert results(store, "--where", "width == 16 and val_acc > 0.7", "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["val_acc"] == pytest.approx(0.76)
    assert row["started"].startswith("2026-03-01T12:00:00.123456")


def test_the_table_shows_what_varies_under_short_names(store, capsys):
    assert results(store) == 0
    header, _, *rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    expected = ["trial", "seed", "width", "status", "best/val_acc", "val_acc", "val_loss", "duration_s", "error"]
    assert header.split() == expected
    assert len(rows) == 4
    assert "0.76" in rows[0]


def test_markdown_is_a_table_of_its_own_lines(store, capsys):
    assert results(store, "--format", "markdown", "--columns", "width,error", "--top", "2") == 0
    assert capsys.readouterr().out.splitlines() == [
        *("| width | error |", "| --- | --- |", "| 16 |  |", "| 8 | it broke badly |")
    ]


def test_means_over_seeds(store, capsys):
    assert results(store, "--over", "seed", "--format", "csv") == 0
    found = frame(capsys)
    assert list(found["config/model.init_args.width"]) == [16, 8]
    assert list(found["val_acc/mean"]) == pytest.approx([0.71, 0.63])
    assert list(found["val_acc/count"]) == [2, 2]
    assert results(store, "--over", "seed") == 0
    assert "0.71 ± 0.07071" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "vall_acc > 1"], "there is no column 'vall_acc'; did you mean 'val_acc'"),
        (["--where", "val_acc >"], "is not a condition on trials"),
        (["--columns", "nam"], "there is no column 'nam'; did you mean 'name'"),
        (["--sort", "val"], "there is no column 'val'"),
        (["--over", "seeds"], "there is no column 'seeds'; did you mean 'seed'"),
        (["--top", "0"], "--top: 0 is not a positive number"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(store, capsys, words, message):
    assert results(store, *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_sweep_or_store_that_is_not_there_is_named(store, capsys, tmp_path):
    assert main(["results", "digit", "--store", str(store)]) == 2
    assert "did you mean 'digits'" in capsys.readouterr().err
    assert main(["results", "digits", "--store", str(tmp_path / "nowhere")]) == 2
    assert f"there is no store at {tmp_path}/nowhere" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
