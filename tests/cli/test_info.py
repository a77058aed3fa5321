"""``nnray info``: everything that is known of a trial."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from trial_folders import epoch_row, write_trial
from trials import configured, folder_of, train

from nnray.cli.main import main
from nnray.store.membership import Membership
from nnray.trial.paths import StorePaths


def info(capsys: pytest.CaptureFixture[str], store: StorePaths, *words: str) -> str:
    assert main(["info", *words, "--store", str(store.root)]) == 0
    return capsys.readouterr().out


def test_of_a_real_trial(store, capsys):
    assert train(store.root, {}) == "completed"
    configuration = configured()
    paths = folder_of(store, configuration)
    Membership("the only one", 0, "val_acc", "max").write(paths, "study")
    told = json.loads(info(capsys, store, configuration.signature[:3], "--format", "json"))
    assert told["trial"] == configuration.signature
    assert told["status"] == "completed"
    place = {"name": "the only one", "position": 0, "metric": "val_acc", "mode": "max"}
    assert place.items() <= told["sweeps"]["study"].items()
    assert told["signature"] == configuration.full_signature
    assert (told["attempts"], told["epochs"], told["max_epochs"]) == (1, 3, 3)
    assert told["host"]
    assert "torch" in told["versions"]
    assert told["config"] == yaml.safe_load(paths.config.read_text())
    rows = [json.loads(line) for line in paths.metrics.read_text().splitlines()]
    best = max(row["val_acc"] for row in rows)
    assert told["metrics"]["val_acc"]["last"] == rows[-1]["val_acc"]
    assert told["metrics"]["val_acc"]["best"] == best
    assert rows[told["metrics"]["val_acc"]["best_epoch"]]["val_acc"] == best
    assert told["metrics"]["val_loss"]["best"] == min(row["val_loss"] for row in rows)
    assert [Path(kept["path"]).stat().st_size for kept in told["checkpoints"]] == [
        kept["bytes"] for kept in told["checkpoints"]
    ]
    assert set(told["files"]) == {str(path) for path in paths.folder.rglob("*") if path.is_file()}
    assert told["damaged"] == []

    text = info(capsys, store, "study/the only one")
    assert f"trial            {configuration.signature}\nstatus           completed\n" in text
    assert "epochs           3 of 3\n" in text
    assert "checkpoints: 3, " in text
    assert text.count("after the epochs 0-2\n") == 1
    assert "      width: 4\n" in text
    for path in told["files"]:
        assert path in text


def test_of_a_failed_trial_and_of_one_that_has_not_begun(store, capsys):
    failed = write_trial(
        store, position=0, status="failed", error="ValueError: no", traceback="Traceback\n  no", rows=[]
    )
    text = info(capsys, store, failed.signature)
    assert "error            ValueError: no\n" in text
    assert text.endswith("\n\nTraceback\n  no\n")
    pending = write_trial(store, position=1, rows=[])
    pending.record.unlink()
    told = json.loads(info(capsys, store, pending.signature, "--format", "json"))
    assert (told["status"], told["epochs"], told["metrics"]) == ("pending", 0, {})


def test_numbers_that_json_does_not_have(store, capsys):
    paths = write_trial(store, rows=[epoch_row(0, math.nan)])
    told = json.loads(
        info(capsys, store, paths.signature, "--format", "json"), parse_constant=lambda name: pytest.fail(name)
    )
    assert told["metrics"]["val_acc"]["best"] is None


def test_a_damaged_record_hides_nothing_else(store, capsys):
    paths = write_trial(store)
    paths.record.write_text('{"status": "compl')
    told = json.loads(info(capsys, store, paths.signature, "--format", "json"))
    assert f"{paths.record} is damaged" in told["damaged"][0]
    assert told["metrics"]["val_acc"]["last"] == pytest.approx(0.7)
    assert "is damaged" in info(capsys, store, paths.signature)


def test_a_trial_that_is_not_there_is_one_line(store, capsys):
    write_trial(store)
    assert main(["info", "zz", "--store", str(store.root)]) == 2
    assert capsys.readouterr().err.startswith("nnray: error: there is no trial 'zz' in ")
