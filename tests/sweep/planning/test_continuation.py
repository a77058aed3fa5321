"""A longer trial that goes on where a shorter one ended comes out as if it had been trained in one go."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trials import TINY, train

from nnray import Sweep
from nnray.cli.main import main
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record, now
from nnray.store.weights import kept_epochs
from nnray.sweep.planning.continuation import kept_after
from nnray.sweep.planning.plan import Plan, PlannedTrial, make_plan
from nnray.training.code import Code
from nnray.training.runner import Run, run_trial
from nnray.trial import StorePaths, TrialPaths, merge, resolve
from nnray.trial.options import CheckpointOptions

SHORT, LONG = 3, 5
KEEP = {"checkpoint.keep_state": True}
OWN = {"model": None, "optimizer": None, "data": "user_code.NoiseData", "task": "user_code.OwnTask"}
COSINE = {"lr_scheduler": {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 3}}}


def plan_of(store: StorePaths, epochs: int, *updates: dict[str, Any]) -> Plan:
    base = merge(TINY, {"trainer.max_epochs": epochs}, *updates)
    return make_plan(Sweep(name="s", base=base), store, Path())


def planned(store: StorePaths, epochs: int, *updates: dict[str, Any]) -> PlannedTrial:
    return plan_of(store, epochs, *updates).trials[0]


def trained(store: StorePaths, epochs: int, *updates: dict[str, Any]) -> TrialPaths:
    """Train a trial as a sweep does: planned, applied and run."""
    plan = plan_of(store, epochs, *updates)
    plan.apply()
    (trial,) = plan.trials
    assert run_trial(trial.paths, trial.configuration, Run(Code(), now())) == "completed"
    return trial.paths


def made(paths: TrialPaths) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    """Return all weights that are kept, and all metrics."""
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}, rows


def content(paths: TrialPaths) -> dict[str, bytes]:
    """Return all files of a trial's folder but those that say who wants it and who runs it."""
    files = (path for path in paths.folder.rglob("*") if path.is_file() and path != paths.claim)
    files = (path for path in files if path.parent != paths.memberships)
    return {str(path.relative_to(paths.folder)): path.read_bytes() for path in files}


CASES: dict[str, dict[str, Any]] = {
    "constant rate": {},
    "steps": {"lr_scheduler": {"class_path": "StepLR", "init_args": {"step_size": 2}}},
    "plateau": {"lr_scheduler": {"class_path": "ReduceLROnPlateau", "init_args": {"patience": 0}}},
    "every second": {"checkpoint.every_n_epochs": 2},
    "only the last": {"checkpoint.keep": "last"},
    "only the best": {"checkpoint.keep": "best", "checkpoint.monitor": "train_loss", "checkpoint.mode": "min"},
    "momentum and augmentation": {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "data.augment": [{"class_path": "nnray.data.RandomCrop", "init_args": {"size": 8, "padding": 1}}],
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_continued_equals_trained_in_one_go(store: StorePaths, tmp_path: Path, case: dict[str, Any]) -> None:
    shorter = trained(store, SHORT, case, KEEP)
    before = content(shorter)
    trial = planned(store, LONG, case)
    assert (trial.continues, trial.state) == (True, "run")
    longer = trained(store, LONG, case)
    assert made(longer) == made(trained(StorePaths(tmp_path / "in one go"), LONG, case))
    assert content(shorter) == before, "the shorter trial is a trial of its own"
    record = Record.read(longer.record)
    assert record is not None
    assert record.continued_from == trial.shorter.record.signature
    assert read_rows(longer.metrics)[:SHORT] == read_rows(shorter.metrics), "times included"
    assert not longer.resume.exists()


def test_twice_in_a_row_from_the_longest(store: StorePaths, tmp_path: Path) -> None:
    trained(store, 1, KEEP)
    trained(store, 2, KEEP)
    trial = planned(store, 4)
    assert trial.shorter is not None
    assert trial.shorter.epochs == 2
    longer = trained(store, 4, KEEP)
    assert made(longer) == made(trained(StorePaths(tmp_path / "in one go"), 4))


OBSTACLES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a schedule with an end": ({**COSINE, **KEEP}, COSINE, "the schedule CosineAnnealingLR depends on the length"),
    "a task of one's own": ({**OWN, **KEEP}, OWN, "OwnTask may depend on the length (it does not say length_free"),
    "callbacks": (
        {"trainer.callbacks": [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.0}}], **KEEP},
        {"trainer.callbacks": [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.0}}]},
        "callbacks may depend",
    ),
    "no state": ({}, {}, "their last state was not kept (checkpoint.keep_state)"),
    "other checkpoints": ({"checkpoint.keep": "last", **KEEP}, {}, "they kept other checkpoints than the longer ones"),
}


@pytest.mark.parametrize(("short", "long", "why"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_may_differ_is_trained_anew_and_the_plan_says_why(
    store: StorePaths, tmp_path: Path, short: dict[str, Any], long: dict[str, Any], why: str
) -> None:
    trained(store, 2, short)
    trial = planned(store, 3, long)
    assert trial.shorter is not None
    assert not trial.continues
    assert why in str(trial.shorter.obstacle)
    plan = plan_of(store, 3, long)
    plan.apply()
    assert not trial.paths.metrics.exists()


def test_no_shorter_trial_is_seen_where_more_has_changed(store: StorePaths) -> None:
    trained(store, 3, KEEP)
    assert planned(store, 4, {"seed": 1}).shorter is None
    assert planned(store, 4, {"optimizer.lr": 0.5}).shorter is None
    assert planned(store, 2).shorter is None, "that one is longer"
    assert planned(store, 3).state == "complete"


def test_a_trial_of_other_code_is_not_continued_where_that_is_to_be_trained_anew(store: StorePaths) -> None:
    trained(store, 2, KEEP)
    plan = plan_of(store, 3)
    dataclasses.replace(plan, retrain=frozenset({plan.trials[0].signature})).apply()
    assert not plan.trials[0].paths.resume.exists()


def killed_at(root: Path, number: int) -> None:
    """Plan and apply the longer trial, and be killed before the file of that number gets its name."""
    left = [number]

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*arguments, **named)

        return counting

    plan = plan_of(StorePaths(root), 3)
    os.link, Path.replace = counted(os.link), counted(Path.replace)  # type: ignore[method-assign, assignment]
    plan.apply()


def test_killed_at_any_file_and_done_again(store: StorePaths, tmp_path: Path, in_child: Callable[..., int]) -> None:
    from shutil import copytree, rmtree

    trained(store, 2, KEEP)
    whole = made(trained(StorePaths(tmp_path / "in one go"), 3))
    pristine = copytree(store.root, tmp_path / "pristine")
    for number in range(20):
        code = in_child(killed_at, store.root, number)
        assert made(trained(store, 3)) == whole, f"killed at file {number}"
        rmtree(store.root)
        copytree(pristine, store.root)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert 6 <= number < 20, "configuration, membership, two checkpoints, metrics, record and state"


def test_a_shorter_trial_that_was_killed_behind_its_last_epoch(store: StorePaths) -> None:
    paths = trained(store, 2, KEEP)
    before = made(paths)
    record = Record.read(paths.record)
    assert record is not None
    dataclasses.replace(record, status="running").write(paths.record)
    assert made(trained(store, 2, KEEP)) == before
    assert planned(store, 3).continues


def test_keeping_the_state_makes_no_other_trial(store: StorePaths) -> None:
    assert resolve(merge(TINY, KEEP)).full_signature == resolve(TINY).full_signature
    assert train(store.root, {}) == "completed"
    (folder,) = store.trials.iterdir()
    text = (folder / "config.yaml").read_text()
    assert "\n  keep_state: false\n" in text
    (folder / "config.yaml").write_text(text.replace("\n  keep_state: false", ""))  # from before there was the option
    trial = planned(store, 3, KEEP)
    assert (trial.state, trial.former, trial.paths.folder) == ("complete", None, folder)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"every_n_epochs": 3}, [2]),
        ({"keep": "last", "every_n_epochs": 3}, [2]),
        ({"keep": "best", "monitor": "m"}, [1]),
        ({"keep": "best", "monitor": "m", "mode": "min"}, [0]),
        ({"keep": "best", "monitor": "m", "every_n_epochs": 3}, [2]),
        ({"keep": "best", "monitor": "other"}, None),
    ],
    ids=str,
)
def test_what_a_longer_trial_has_kept_by_then(options: dict[str, Any], kept: list[int] | None) -> None:
    rows = [{"epoch": epoch, "m": value} for epoch, value in enumerate([1.0, 3.0, float("nan"), 3.0])]
    assert kept_after(rows, CheckpointOptions(**options)) == kept


SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={base!r},
    space={{"lr_scheduler": grid(None, {cosine!r}), "seed": grid(range({seeds})), "trainer.max_epochs": {epochs}}},
)
"""


def test_the_command_says_what_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(epochs: int, seeds: int) -> None:
        base = merge(TINY, KEEP)
        text = SPACE.format(base=base, cosine=COSINE["lr_scheduler"], epochs=epochs, seeds=seeds)
        (tmp_path / "study.py").write_text(text)

    monkeypatch.chdir(tmp_path)
    write(epochs=2, seeds=2)
    assert main(["sweep", "study.py", "--in-process"]) == 0
    write(epochs=3, seeds=3)
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "study: 6 trials: 0 complete, 0 to resume, 4 to run, 2 to continue from shorter trials" in lines
    assert "2 train anew although shorter ones exist: the schedule CosineAnnealingLR depends on the length" in lines
    assert "no longer in the space: 4 trials, gone from the tables; folders stay" in lines
    records = [json.loads(path.read_text()) for path in Path("nnray-store/trials").glob("*/record.json")]
    assert len(records) == 10
    assert sum(record["continued_from"] is not None for record in records) == 2
    assert all(record["status"] == "completed" and record["attempts"] == 1 for record in records)
