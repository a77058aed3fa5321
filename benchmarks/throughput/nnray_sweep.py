"""Side (a): ``nnray sweep`` as a person runs it, with all its books."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from command import nnray

from throughput.grid import BATCH_SIZE, EPOCHS, Measured, Trial

_NAME = "throughput"

TRIALS = {
    "model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"depth": 2}},
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": BATCH_SIZE}},
    "optimizer": {"class_path": "torch.optim.AdamW"},
    "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
}


NOTHING = {
    "task": {"class_path": "throughput.nothing.Nothing"},
    "data": {"class_path": "throughput.nothing.NoData"},
    "optimizer": None,
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}


def nnray_sweep(trials: list[Trial], processes: int) -> Measured:
    """Measure ``nnray sweep`` on a new store."""
    overrides = [{"model.width": trial.width, "optimizer.lr": trial.lr, "seed": trial.seed} for trial in trials]
    return _sweep(TRIALS, overrides, "val_acc")


def nothing_sweep(count: int) -> Measured:
    """Measure ``nnray sweep`` with trials that do next to nothing."""
    return _sweep(NOTHING, [{"seed": seed} for seed in range(count)], "done")


def _sweep(base: dict[str, Any], overrides: list[dict[str, Any]], metric: str) -> Measured:
    """Run ``nnray sweep`` in a process of its own, and read off its store what it did when."""
    with tempfile.TemporaryDirectory(prefix="nnray-benchmark-") as folder:
        space, store = Path(folder, "space.py"), Path(folder, "store")
        sweep = f"Sweep({_NAME!r}, {base!r}, trials={overrides!r}, metric={metric!r})"
        space.write_text(f"from nnray import Sweep\n\nsweep = {sweep}\n")
        begun = time.time()
        nnray("sweep", str(space), "--store", str(store))
        return _read_off(store, len(overrides), metric, begun)


def _read_off(store: Path, count: int, metric: str, begun: float) -> Measured:
    """Count from the end of the last worker's first trial to the last change of a table or of a run in MLflow."""
    import pandas as pd

    tables = store / "tables" / _NAME
    table = pd.read_parquet(tables / "trials.parquet")
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:
        (finished,) = database.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()
    if not len(table) == finished == count or set(table["status"]) != {"completed"}:
        raise RuntimeError(f"nnray completed {(table['status'] == 'completed').sum()} of {count} trials")
    # The lock file of a trial names the process that trained it.
    claims = [store / "trials" / trial / "claim.lock" for trial in table["trial"]]
    workers = [json.loads(claim.read_text())["pid"] for claim in claims]
    ended = table["ended"].map(lambda time: time.timestamp())
    firsts = ended.groupby(workers).min()
    # Of a handful of trials none may be left when the slowest worker has ended its first.
    start = firsts.max() if (ended > firsts.max()).any() else firsts.min()
    # Each time a run is written to MLflow its artifact is. The database itself changes again when Ray has shut down and
    # the books are closed, also if that finds nothing left to do.
    written = [*tables.glob("*.parquet"), *(store / "mlartifacts").rglob("config.yaml")]
    end = max(path.stat().st_mtime for path in written)
    return Measured(int((ended > start).sum()), end - start, start - begun, table[metric].tolist())
