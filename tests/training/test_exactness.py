"""A trial is a pure function of its configuration: the same bits alone, in a warm worker, and killed and resumed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from trials import configured, train

from nnray.store.metrics_log import read_rows
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths

NOISE: dict[str, Any] = {
    "data": "user_code.NoiseData",
    "model": {"class_path": "user_code.Tiny", "init_args": {"num_classes": 2, "in_channels": 1}},
}

CASES: dict[str, dict[str, Any]] = {
    "dropout and AdamW": {},
    "momentum and cosine per epoch": {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 4}},
    },
    "one cycle per step": {
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.OneCycleLR",
            "init_args": {"max_lr": 0.1, "total_steps": 20},
        },
        "task.scheduler_interval": "step",
    },
    "plateau": {
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "init_args": {"patience": 0, "factor": 0.5, "threshold": 10.0},
        },
    },
    "augmented": {"data.augment": [{"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 1}}]},
    "ordinary data loaders": NOISE,
    "a loader with a generator of its own": {**NOISE, "data": "user_code.GeneratorData"},
    "gradient accumulation and clipping": {"trainer.accumulate_grad_batches": 2, "trainer.gradient_clip_val": 0.1},
}
MOMENTS = ["0:1", "1:end", "2:0", "3:validation"]


def _case(name: str, folder: Path, moments: list[str]) -> dict[str, Any]:
    kill = {"class_path": "user_code.KillOnce", "init_args": {"folder": str(folder), "moments": moments}}
    return {**CASES[name], "trainer.max_epochs": 4, "trainer.callbacks": [kill]}


def _result(store: StorePaths, raw: dict[str, Any]) -> tuple[dict[int, bytes], list[dict[str, Any]]]:
    paths = store.trial(configured(raw).signature)
    weights = {epoch: path.read_bytes() for epoch, path in kept_epochs(paths).items()}
    rows = [{key: value for key, value in row.items() if key != "time"} for row in read_rows(paths.metrics)]
    return weights, rows


@pytest.mark.parametrize("name", CASES, ids=[name.replace(" ", "-") for name in CASES])
def test_killed_anywhere_and_resumed_equals_never_killed(name: str, tmp_path: Path, in_child: Any) -> None:
    raw = _case(name, tmp_path, MOMENTS)
    store = StorePaths(tmp_path / "killed")
    for moment in MOMENTS:
        assert in_child(train, store.root, raw) == -signal.SIGKILL, f"not killed at {moment}"
    assert in_child(train, store.root, raw) == 0
    assert train(tmp_path / "whole", raw) == "completed"  # every marker is there: nothing kills this one

    weights, rows = _result(store, raw)
    expected_weights, expected_rows = _result(StorePaths(tmp_path / "whole"), raw)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows == expected_rows
    assert weights == expected_weights


@pytest.mark.parametrize("keep", ["top 2", "every 2", "best"])
def test_a_resumed_trial_keeps_the_same_weights(keep: str, tmp_path: Path, in_child: Any) -> None:
    moments = ["1:end", "2:0", "3:0", "4:0"]
    raw = _case("dropout and AdamW", tmp_path, moments) | {
        "trainer.max_epochs": 5,
        "checkpoint": {"keep": keep, "monitor": "train_acc"},
    }
    for _ in moments:
        assert in_child(train, tmp_path / "killed", raw) == -signal.SIGKILL
    assert in_child(train, tmp_path / "killed", raw) == 0
    assert train(tmp_path / "whole", raw) == "completed"
    assert _result(StorePaths(tmp_path / "killed"), raw) == _result(StorePaths(tmp_path / "whole"), raw)


def test_the_schedule_that_the_cases_rely_on_does_something(tmp_path: Path) -> None:
    for name in ("momentum and cosine per epoch", "one cycle per step", "plateau"):
        raw = _case(name, tmp_path, [])
        train(tmp_path, raw)
        rates = [row["lr"] for row in _result(StorePaths(tmp_path), raw)[1]]
        assert len(set(rates)) >= 3, (name, rates)


def test_a_warm_process_gives_the_bits_of_a_fresh_one(tmp_path: Path, in_child: Any) -> None:
    raw = {"seed": 5}
    assert in_child(train, tmp_path / "fresh", raw) == 0
    train(tmp_path / "others", {"seed": 6, "model": "user_code.Messy"})
    train(tmp_path / "others", {"seed": 7, "trainer.precision": "64-true"})
    train(tmp_path / "others", {"seed": 8, "model": "user_code.Raises"})
    train(tmp_path / "warm", raw)
    assert _result(StorePaths(tmp_path / "warm"), raw) == _result(StorePaths(tmp_path / "fresh"), raw)


def test_the_seed_changes_the_result(tmp_path: Path) -> None:
    results = []
    for seed in (0, 1):
        train(tmp_path, {"seed": seed})
        results.append(_result(StorePaths(tmp_path), {"seed": seed}))
    assert results[0] != results[1]
