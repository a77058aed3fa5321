"""One trial: what its folder holds in the end, and what happens when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trials import configured, folder_of, train

from nnray.store.claim import Claim
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial import StorePaths, TrialPaths, read_configuration_file, resolve

RAISES_ONCE = {"class_path": "user_code.RaisesOnce"}
OWN_TASK: dict[str, Any] = {
    "model": None,
    "optimizer": None,
    "data": "user_code.NoiseData",
    "task": "user_code.OwnTask",
}


def _paths(store: StorePaths, raw: dict[str, Any]) -> TrialPaths:
    return store.trial(configured(raw).signature)


def _record(paths: TrialPaths) -> Record:
    record = Record.read(paths.record)
    assert record is not None
    return record


def test_the_folder_of_a_completed_trial(store: StorePaths) -> None:
    assert train(store.root, {}) == "completed"
    paths = _paths(store, {})
    assert sorted(path.name for path in paths.folder.iterdir()) == [
        "checkpoints",
        "claim.lock",
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "record.json",
    ]
    assert [path.name for path in kept_epochs(paths).values()] == [
        f"epoch=000{epoch}.safetensors" for epoch in range(3)
    ]
    assert resolve(read_configuration_file(paths.config)).signature == paths.signature
    record = _record(paths)
    assert record.status == "completed"
    assert record.signature == configured({}).full_signature
    assert record.attempts == 1
    assert record.started is not None
    assert record.ended is not None
    assert 0 < record.duration_s <= (record.ended - record.started).total_seconds()
    assert record.versions["torch"] == torch.__version__
    assert record.data_facts == {"in_channels": 1, "num_classes": 10, "image_size": 8}
    assert len(record.data_fingerprint) == 64
    assert json.loads(paths.record.read_text())["status"] == "completed"


@pytest.fixture
def sigterm_as_in_a_new_process() -> Iterator[None]:
    """Lightning handles the signal only where nobody else does, and Ray, which other tests start here, does."""
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


@pytest.mark.usefixtures("sigterm_as_in_a_new_process")
def test_sigterm_is_an_interruption_and_no_failure(store: StorePaths) -> None:
    raw = {"trainer.callbacks": [{"class_path": "user_code.Terminated"}]}
    with pytest.raises(KeyboardInterrupt):
        train(store.root, raw)
    record = _record(_paths(store, raw))
    assert (record.status, record.error) == ("running", None)
    assert _paths(store, raw).resume.exists()


def test_the_metrics_are_those_of_the_kept_weights(store: StorePaths) -> None:
    configuration = configured({})
    train(store.root, {})
    paths = _paths(store, {})
    data = configuration.build_data()
    data.setup("fit")
    images, labels = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    for row, path in zip(read_rows(paths.metrics), kept_epochs(paths).values(), strict=True):
        model = configuration.build_model(configuration.data_facts(data))
        model.load_state_dict(load_file(path), strict=True)
        with torch.no_grad():
            logits = model.eval()(images)
        log_probabilities = logits.double() - logits.double().logsumexp(1, keepdim=True)
        assert row["val_acc"] == pytest.approx((logits.argmax(1) == labels).double().mean().item(), abs=1e-6)
        assert row["val_loss"] == pytest.approx(-log_probabilities[range(len(labels)), labels].mean().item(), rel=1e-5)
        assert row["step"] == 5 * (row["epoch"] + 1)
        assert row["lr"] == 0.01


def test_a_trained_trial_is_not_trained_again(store: StorePaths) -> None:
    train(store.root, {})
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in store.root.rglob("*")
        if path.is_file() and path.name != "claim.lock"
    }
    assert train(store.root, {}) == "completed"
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


def test_a_trial_that_another_process_runs_is_left_alone(store: StorePaths) -> None:
    paths = folder_of(store, configured({}))
    with Claim.acquire(paths.claim):
        assert train(store.root, {}) == "claimed"
    assert not paths.record.exists()
    assert train(store.root, {}) == "completed"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({"model": "user_code.Raises"}, "RuntimeError: no such luck"),
        ({"model": {"class_path": "user_code.Raises", "init_args": {"leave": True}}}, "SystemExit: left"),
        (
            {**OWN_TASK, "task": "user_code.DivergingTask"},
            "TrialError: diverged: the training loss is not finite in epoch 1",
        ),
        ({"optimizer.lr": 1e30}, "TrialError: diverged: the training loss is not finite in epoch"),
        (
            {"checkpoint.keep": "best", "checkpoint.monitor": "f1"},
            "TrialError: checkpoint.monitor: there is no metric 'f1'",
        ),
    ],
    ids=["raises", "exits", "becomes NaN", "learning rate too high", "unknown monitor"],
)
def test_a_failure_is_recorded_with_its_evidence(raw: dict[str, Any], error: str, store: StorePaths) -> None:
    assert train(store.root, raw) == "failed"
    paths = _paths(store, raw)
    record = _record(paths)
    assert record.status == "failed"
    assert record.error.startswith(error)
    assert "\n" not in record.error
    assert "Traceback" in record.traceback
    assert error.partition(": ")[2] in paths.log.read_text()
    assert train(store.root, raw) == "failed"
    assert _record(paths).attempts == 2


def test_what_a_trial_prints_is_in_its_log_and_nowhere_else(
    store: StorePaths, capfd: pytest.CaptureFixture[str]
) -> None:
    train(store.root, {"model": "user_code.Raises"})
    assert "about to fail" in _paths(store, {"model": "user_code.Raises"}).log.read_text()
    assert "about to fail" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("checkpoint", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"every_n_epochs": 2}, [1, 3, 4]),
        ({"keep": "last"}, [4]),
        ({"keep": "last", "every_n_epochs": 3}, [4]),
        ({"keep": "every 2"}, [1, 3, 4]),
        ({"keep": "every 4", "every_n_epochs": 2}, [3, 4]),
    ],
    ids=["all", "every second", "last", "last of every third", "all but every second", "every fourth of every second"],
)
def test_which_weights_are_kept(checkpoint: dict[str, Any], kept: list[int], store: StorePaths) -> None:
    raw = {"trainer.max_epochs": 5, "checkpoint": checkpoint}
    train(store.root, raw)
    assert list(kept_epochs(_paths(store, raw))) == kept


@pytest.mark.parametrize(("monitor", "mode"), [("val_acc", "max"), ("val_loss", "min")])
def test_the_best_weights_are_those_of_the_best_epoch(monitor: str, mode: str, store: StorePaths) -> None:
    raw = {
        "trainer.max_epochs": 5,
        "optimizer.lr": 0.3,
        "checkpoint": {"keep": "best", "monitor": monitor, "mode": mode},
    }
    train(store.root, raw)
    values = [row[monitor] for row in read_rows(_paths(store, raw).metrics)]
    best = max(values) if mode == "max" else min(values)
    assert list(kept_epochs(_paths(store, raw))) == [values.index(best)]


def test_the_top_weights_are_those_of_the_best_epochs(store: StorePaths) -> None:
    raw = {
        "trainer.max_epochs": 6,
        "optimizer.lr": 0.3,
        "checkpoint": {"keep": "top 2", "monitor": "train_loss", "mode": "min"},
    }
    train(store.root, raw)
    values = {row["epoch"]: row["train_loss"] for row in read_rows(_paths(store, raw).metrics)}
    assert list(kept_epochs(_paths(store, raw))) == sorted(sorted(values, key=values.__getitem__)[:2])


def test_a_trial_stopped_by_early_stopping_keeps_its_last_weights(store: StorePaths) -> None:
    stop = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val_loss", "patience": 1, "min_delta": 100.0},
    }
    raw = {"trainer": {"max_epochs": 9, "callbacks": [stop]}, "checkpoint": {"keep": "last", "every_n_epochs": 5}}
    assert train(store.root, raw) == "completed"
    paths = _paths(store, raw)
    assert [row["epoch"] for row in read_rows(paths.metrics)] == [0, 1]
    assert list(kept_epochs(paths)) == [1]


def test_a_task_with_its_own_network_keeps_all_its_weights(store: StorePaths) -> None:
    assert train(store.root, OWN_TASK) == "completed"
    paths = _paths(store, OWN_TASK)
    assert set(load_file(paths.checkpoint(2))) == {"net.1.weight", "net.1.bias", "net.3.weight", "net.3.bias"}
    assert set(read_rows(paths.metrics)[0]) == {"epoch", "step", "time", "train_loss", "val_acc"}


def test_a_task_around_a_model_keeps_the_model_under_its_own_names(store: StorePaths) -> None:
    raw = {"task": "user_code.TaskWithHead", "optimizer": None, "data": "user_code.NoiseData"}
    assert train(store.root, raw) == "completed", _record(_paths(store, raw)).error
    names = set(load_file(_paths(store, raw).checkpoint(2)))
    model = set(configured(raw).build_model({}).state_dict())
    assert model < names
    assert names - model == {"task:net.1.weight", "task:net.1.bias"}


def test_a_damaged_resume_state_is_not_used(store: StorePaths) -> None:
    paths = folder_of(store, configured({}))
    paths.resume.write_bytes(b"no checkpoint at all" * 100)
    assert train(store.root, {}) == "completed"
    assert [row["epoch"] for row in read_rows(paths.metrics)] == [0, 1, 2]


def test_a_resume_state_never_runs_code(store: StorePaths, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    paths = folder_of(store, configured({}))
    torch.save({"format": 1, "epoch": 1, "evil": Evil()}, paths.resume)
    assert train(store.root, {}) == "completed"
    assert not (tmp_path / "owned").exists()


def test_metrics_named_like_a_rows_own_columns_keep_out_of_their_way(store: StorePaths) -> None:
    raw = {**OWN_TASK, "task": "user_code.TaskWithOddMetrics"}
    assert train(store.root, raw) == "completed", _record(_paths(store, raw)).error
    rows = read_rows(_paths(store, raw).metrics)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 4), (1, 8), (2, 12)]
    assert rows[0]["time"] > 1e9
    assert {name: rows[0][name] for name in rows[0] if "/" in name} == {
        "metric/epoch": 0.5,
        "metric/step": 1.5,
        "metric/time": 2.5,
    }


def test_keys_that_cannot_change_the_result_are_stored_as_they_were_when_it_was_trained(store: StorePaths) -> None:
    train(store.root, {"checkpoint.keep": "last", "trainer.callbacks": [RAISES_ONCE]})
    raw = {"checkpoint.keep": "all", "trainer.callbacks": [RAISES_ONCE]}
    assert configured(raw).signature == configured({**raw, "checkpoint.keep": "last"}).signature
    assert train(store.root, raw) == "completed"
    assert read_configuration_file(_paths(store, raw).config)["checkpoint"]["keep"] == "all"


def test_a_resume_state_left_by_a_kill_after_the_last_line_is_removed(store: StorePaths) -> None:
    train(store.root, {})
    _paths(store, {}).resume.touch()
    assert train(store.root, {}) == "completed"
    assert not _paths(store, {}).resume.exists()


def test_a_log_that_cannot_be_written_does_not_hide_what_went_wrong(store: StorePaths, monkeypatch) -> None:
    paths = folder_of(store, configured({"model": "user_code.Raises"}))
    monkeypatch.setattr(type(paths), "log", property(lambda _: Path("/dev/full")))
    assert train(store.root, {"model": "user_code.Raises"}) == "failed"
    assert _record(paths).status == "failed"
    assert "No space left on device" in _record(paths).error
    monkeypatch.undo()
    assert train(store.root, {"model": "user_code.Raises"}) == "failed"
    assert _record(paths).error == "RuntimeError: no such luck"
