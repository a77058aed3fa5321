"""Trial folders for tests, written by the functions that real trials are written by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nnray.store.files import write_text
from nnray.store.membership import Membership
from nnray.store.metrics_log import Row, read_rows, write_rows
from nnray.store.record import Record
from nnray.trial.merging import merge
from nnray.trial.paths import StorePaths, TrialPaths
from nnray.trial.signature import signature_of

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
CONFIG: dict[str, Any] = {
    "seed": 0,
    "model": {"class_path": "nnray.models.MLP", "init_args": {"width": 8, "dropout": 0.0}},
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 128}},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001, "betas": [0.9, 0.999]}},
    "lr_scheduler": None,
    "trainer": {"max_epochs": 3, "deterministic": True},
}


def epoch_row(epoch: int, accuracy: float) -> dict[str, Any]:
    time = START.timestamp() + epoch + 0.25
    return {"epoch": epoch, "step": 10 * (epoch + 1), "time": time, "val_acc": accuracy, "val_loss": 1 - accuracy}


def append_row(path: Path, row: Row) -> None:
    """Add a row to a trial's metrics."""
    write_rows(path, [*read_rows(path), row])


def write_trial(
    store: StorePaths,
    sweep: str = "digits",
    *,
    name: str | None = None,
    position: int = 0,
    metric: str | None = "val_acc",
    mode: str | None = "max",
    config: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
    checkpoints: Mapping[int, Mapping[str, Any]] | None = None,
    **record: Any,
) -> TrialPaths:
    """Write the folder of a trial; by default one that is completed after three epochs, without checkpoints."""
    values = merge(CONFIG, {"seed": position, **(config or {})})
    full = signature_of(values)
    paths = store.trial(full[:16])
    paths.folder.mkdir(parents=True, exist_ok=True)
    write_text(paths.config, _yaml(values))
    Membership(name or f"seed={position}", position, metric, mode).write(paths, sweep)
    paths.metrics.unlink(missing_ok=True)
    rows = [epoch_row(epoch, 0.5 + 0.1 * epoch) for epoch in range(3)] if rows is None else rows
    if rows:
        write_rows(paths.metrics, map(dict, rows))
    for epoch, state in (checkpoints or {}).items():
        from nnray.store.weights import save_weights

        save_weights(paths.checkpoint(epoch), dict(state))
    finished = {
        "status": "completed",
        "attempts": 1,
        "started": START,
        "ended": START + timedelta(seconds=3),
        "duration_s": 3.0,
        "host": "node1",
        "git_commit": "c0ffee",
    }
    Record(**{"signature": full, **finished, **record}).write(paths.record)
    return paths


def write_trials(root: Path, count: int, sweep: str = "digits", **options: Any) -> StorePaths:
    """Write a store with ``count`` trials that differ in their seed."""
    store = StorePaths(root)
    for position in range(count):
        write_trial(store, sweep, position=position, **options)
    return store


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False)
