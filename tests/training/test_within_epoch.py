"""A state that is kept within an epoch continues it with the same bits, whatever the epoch sums up."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from trials import configured, train

from nnray.errors import ConfigurationError
from nnray.store.metrics_log import read_rows
from nnray.store.weights import kept_epochs
from nnray.training.resume import read_resume_state
from nnray.trial import StorePaths

NOISE: dict[str, Any] = {
    "data": "user_code.NoiseData",
    "model": {"class_path": "user_code.Tiny", "init_args": {"num_classes": 2, "in_channels": 1}},
}
OWN: dict[str, Any] = {"data": "user_code.NoiseData", "model": None, "optimizer": None}

CASES: dict[str, dict[str, Any]] = {
    "dropout and augmentation": {
        "data.augment": [{"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 1}}],
        "checkpoint.every_n_steps": 2,
    },
    "one cycle per step": {
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.OneCycleLR",
            "init_args": {"max_lr": 0.1, "total_steps": 20},
        },
        "task.scheduler_interval": "step",
    },
    "ordinary data loaders": NOISE,
    "a loader with a generator of its own": {**NOISE, "data": "user_code.GeneratorData"},
    "a stream": {**NOISE, "data": "user_code.StreamData"},
    "gradient accumulation": {"trainer.accumulate_grad_batches": 2},
    "sums of Lightning and torchmetrics": {**OWN, "task": "user_code.CountingTask"},
    "manual optimization": {**OWN, "task": "user_code.ManualTask"},
}
KILLED_AT = {"dropout and augmentation": ["0:2", "0:3", "1:3"]}
"""Else at 0:2 and 1:1."""


def _case(raw: dict[str, Any], folder: Path, moments: list[str]) -> dict[str, Any]:
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(folder), "moments": moments}}
    trace = {"class_path": "user_code.Trace", "init_args": {"file": str(folder / "trace")}}
    every = {"checkpoint.every_n_steps": 1}
    return {**every, **raw, "trainer.max_epochs": 2, "trainer.callbacks": [trace, kill]}


def _result(store: StorePaths, raw: dict[str, Any]) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    paths = store.trial(configured(raw).signature)
    weights = {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return weights, rows


@pytest.mark.parametrize("name", CASES, ids=[name.replace(" ", "-") for name in CASES])
def test_killed_within_an_epoch_equals_never_killed(name: str, tmp_path: Path, in_child: Any) -> None:
    moments = KILLED_AT.get(name, ["0:2", "1:1"])
    raw = _case(CASES[name], tmp_path, moments)
    for moment in moments:
        assert in_child(train, tmp_path / "killed", raw) == -signal.SIGKILL, f"not killed at {moment}"
    assert in_child(train, tmp_path / "killed", raw) == 0
    trained = (tmp_path / "trace").read_text().split()
    assert train(tmp_path / "whole", {**raw, "checkpoint.every_n_steps": None}) == "completed"
    every = (tmp_path / "trace").read_text().split()[len(trained) :]

    weights, rows = _result(StorePaths(tmp_path / "killed"), raw)
    expected_weights, expected_rows = _result(StorePaths(tmp_path / "whole"), raw)
    assert rows == expected_rows
    assert weights == expected_weights
    # Only what was behind the last kept step is trained again.
    again = CASES[name].get("checkpoint.every_n_steps", 1) * CASES[name].get("trainer.accumulate_grad_batches", 1)
    assert len(every) <= len(trained) <= len(every) + again * len(moments)


def test_loaders_with_workers_come_to_where_they_were(tmp_path: Path) -> None:
    # It fails instead of being killed, which would leave PyTorch's workers behind for ever.
    fail = {"folder": str(tmp_path), "moments": ["0:1", "1:2"], "gently": True}
    callbacks = [{"class_path": "user_code.KillOnce", "init_args": fail}]
    raw = {**NOISE, "data.num_workers": 1, "trainer": {"max_epochs": 2, "callbacks": callbacks}}
    often = {**raw, "checkpoint.every_n_steps": 1}
    assert [train(tmp_path / "failed", often) for _ in range(3)] == ["failed", "failed", "completed"]
    assert train(tmp_path / "whole", raw) == "completed"
    assert _result(StorePaths(tmp_path / "failed"), raw) == _result(StorePaths(tmp_path / "whole"), raw)


def test_a_kill_in_the_middle_of_writing_leaves_the_state_before(tmp_path: Path, in_child: Any) -> None:
    raw = _case({}, tmp_path, ["1:2"])
    assert in_child(_train_and_die_writing, tmp_path / "killed", {**raw}) == -signal.SIGKILL
    paths = StorePaths(tmp_path / "killed").trial(configured(raw).signature)
    assert list(paths.folder.glob(".resume.ckpt.*.part"))
    before = read_resume_state(paths.resume)
    assert before is not None
    assert before["within"]["batches"] == 1
    for _ in range(2):
        in_child(train, tmp_path / "killed", raw)
    assert not list(paths.folder.glob(".*.part"))
    assert train(tmp_path / "whole", raw) == "completed"
    assert _result(StorePaths(tmp_path / "killed"), raw) == _result(StorePaths(tmp_path / "whole"), raw)


def _train_and_die_writing(root: Path, raw: dict[str, Any]) -> None:
    save, saved = torch.save, []

    def save_half(state: dict[str, Any], file: IO[bytes]) -> None:
        save(state, file)
        saved.append(file)
        if len(saved) == 2:
            file.truncate(1000)
            file.flush()
            signal.raise_signal(signal.SIGKILL)

    torch.save = save_half
    train(root, raw)


def test_the_key_enters_no_signature_and_changes_no_result(tmp_path: Path) -> None:
    often = {"checkpoint.every_n_steps": 1}
    assert configured(often).signature == configured({}).signature
    train(tmp_path / "often", often)
    train(tmp_path / "never", {})
    assert _result(StorePaths(tmp_path / "often"), often) == _result(StorePaths(tmp_path / "never"), {})


def test_no_state_is_kept_behind_the_last_step_of_an_epoch(tmp_path: Path, in_child: Any) -> None:
    raw = _case({}, tmp_path, ["0:end"])
    assert in_child(train, tmp_path, raw) == -signal.SIGKILL
    state = read_resume_state(StorePaths(tmp_path).trial(configured(raw).signature).resume)
    assert state is not None
    assert (state["epoch"], state["within"]["batches"]) == (0, 4)  # of 5 batches


def test_a_state_from_a_gpu_goes_on_without_one(tmp_path: Path, in_child: Any) -> None:
    raw = _case({}, tmp_path, ["1:1"])
    assert in_child(train, tmp_path, raw) == -signal.SIGKILL
    paths = StorePaths(tmp_path).trial(configured(raw).signature)
    state = read_resume_state(paths.resume)
    assert state is not None
    for random in (state["random"], state["within"]["random"]):
        random["cuda"] = [torch.zeros(16, dtype=torch.uint8)]  # what a machine with one GPU keeps
    torch.save(state, paths.resume)
    assert in_child(train, tmp_path, raw) == 0
    assert [row["epoch"] for row in read_rows(paths.metrics)] == [0, 1]


def test_several_workers_are_refused() -> None:
    message = "checkpoint.every_n_steps: a state within an epoch can be kept of one process, and not of 2 workers"
    with pytest.raises(ConfigurationError, match=message):
        configured({"checkpoint.every_n_steps": 5, "workers": 2})
    with pytest.raises(ConfigurationError, match=message):
        configured({"checkpoint.every_n_steps": 5}).with_workers(2)
