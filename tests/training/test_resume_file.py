"""What a trial continues from is damaged: its state, or the rows of the epochs before. It begins anew."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import configured, train

from nnray.store.files import path_of, replacing
from nnray.store.metrics_log import checked_rows, read_rows
from nnray.store.record import Record
from nnray.training.resume import FORMAT, read_resume_state
from nnray.trial import StorePaths


def test_a_flipped_bit_is_not_continued_from(tmp_path: Path) -> None:
    path = tmp_path / "resume.ckpt"
    state = {"format": FORMAT, "weight": torch.arange(100.0), "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}
    torch.save(state, path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x08]) + whole[place + 1 :])
        read = read_resume_state(path)
        refused += read is None
        assert read is None or (torch.equal(read["weight"], state["weight"]) and read["groups"] == state["groups"])
    assert refused > len(whole) / 6  # the rest is padding between the archive's members


def test_a_state_in_a_bucket_is_read(bucket: str) -> None:
    path = path_of(bucket) / "resume.ckpt"
    with replacing(path) as local:
        torch.save({"format": FORMAT, "weight": torch.arange(100.0)}, local)
    state = read_resume_state(path)
    assert state is not None
    assert torch.equal(state["weight"], torch.arange(100.0))


@pytest.mark.parametrize("damage", ["cut short", "empty", "a flipped bit in the weights"])
def test_a_trial_whose_state_is_damaged_begins_anew_and_says_so(tmp_path: Path, in_child: Any, damage: str) -> None:
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(tmp_path), "moments": ["1:0"]}}
    raw = {"trainer.callbacks": [kill]}
    assert in_child(train, tmp_path / "store", raw) == -signal.SIGKILL
    paths = StorePaths(tmp_path / "store").trial(configured(raw).signature)
    content = paths.resume.read_bytes()
    if damage == "cut short":
        paths.resume.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        paths.resume.write_bytes(b"")
    else:
        weights = max(torch.load(paths.resume)["state_dict"].values(), key=torch.numel)
        place = content.index(weights.numpy().tobytes())
        paths.resume.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert train(tmp_path / "store", raw) == "completed"
    assert train(tmp_path / "whole", raw) == "completed"

    whole = StorePaths(tmp_path / "whole").trial(paths.signature)
    assert paths.checkpoint(2).read_bytes() == whole.checkpoint(2).read_bytes()
    assert [row["epoch"] for row in read_rows(paths.metrics)] == [0, 1, 2]
    assert f"{paths.resume} is damaged or of another version; the trial begins anew" in paths.log.read_text()


@pytest.mark.parametrize("damage", ["a value", "a line less", "no file"])
def test_a_trial_whose_rows_are_damaged_begins_anew_and_says_so(tmp_path: Path, in_child: Any, damage: str) -> None:
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(tmp_path), "moments": ["2:0"]}}
    raw = {"trainer.callbacks": [kill]}
    assert in_child(train, tmp_path / "store", raw) == -signal.SIGKILL
    paths = StorePaths(tmp_path / "store").trial(configured(raw).signature)
    lines = paths.metrics.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    if damage == "a value":
        paths.metrics.write_bytes(lines[0].replace(b'"step": ', b'"step": 1') + lines[1])
        said = "line 1 is not what was written (its checksum differs)"
    else:
        paths.metrics.write_bytes(lines[0]) if damage == "a line less" else paths.metrics.unlink()
        said = f"it has {0 if damage == 'no file' else 1} of 2 rows"
    assert train(tmp_path / "store", raw) == "completed"
    assert train(tmp_path / "whole", raw) == "completed"

    whole = StorePaths(tmp_path / "whole").trial(paths.signature)
    both = ([{**row, "time": 0} for row in read_rows(trial.metrics)] for trial in (paths, whole))
    assert next(both) == next(both)
    assert f"{paths.metrics} is damaged: {said}; the trial begins anew" in paths.log.read_text()
    record = Record.read(paths.record)
    assert record is not None
    assert (record.status, record.rows, record.attempts) == ("completed", 3, 2)


def test_a_trial_that_a_former_version_began_goes_on(tmp_path: Path, in_child: Any) -> None:
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(tmp_path), "moments": ["2:0"]}}
    raw = {"trainer.callbacks": [kill]}
    assert in_child(train, tmp_path, raw) == -signal.SIGKILL
    paths = StorePaths(tmp_path).trial(configured(raw).signature)
    paths.metrics.write_text("".join(json.dumps(row) + "\n" for row in read_rows(paths.metrics)))
    paths.record.write_text(paths.record.read_text().replace('"rows": 0', '"rows": null'))
    assert train(tmp_path, raw) == "completed"
    assert "begins anew" not in paths.log.read_text()
    record = Record.read(paths.record)
    assert record is not None
    assert record.rows == len(checked_rows(paths.metrics, 3)) == 3
