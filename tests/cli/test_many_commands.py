"""Many commands at once on one store: no trial is trained twice, no row is lost, and no reader ever fails."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import yaml
from commands import finish, start

from nnray.store.metrics_log import read_rows

TRAINS, EPOCHS = 6, 4
SWEEPS = {"left": range(3), "right": range(1, 4)}
BASE = {
    "model": "user_code.Tiny",
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
    "trainer": {"max_epochs": EPOCHS},
}


def test_trains_and_sweeps_at_once(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    for name, seeds in SWEEPS.items():
        space = f"Sweep(name={name!r}, base='base.yaml', space={{'seed': grid({seeds!r})}}, metric='val_acc')"
        (tmp_path / f"{name}.py").write_text(f"from nnray import Sweep, grid\nsweep = {space}\n")
    running = [start(tmp_path, "sweep", f"{name}.py", "--in-process") for name in SWEEPS]
    # Two commands for each of three trials, of which the first is one of the sweeps'.
    running += [start(tmp_path, "train", "--config", "base.yaml", "--seed", str(3 + k // 2)) for k in range(TRAINS)]

    store = tmp_path / "nnray-store"
    seen: dict[Path, set[tuple[str, int]]] = {}
    while any(process.poll() is None for process in running):
        for table in store.glob("tables/*/metrics.parquet"):
            frame = pd.read_parquet(table)
            rows = set(zip(frame["trial"], frame["epoch"], strict=True))
            assert len(rows) == len(frame)
            assert seen.get(table, set()) <= rows
            seen[table] = rows
    for status, output in map(finish, running):
        assert status == 0, output
        assert "Traceback" not in output

    records = [json.loads(path.read_text()) for path in store.glob("trials/*/record.json")]
    assert [(record["status"], record["attempts"]) for record in records] == [("completed", 1)] * 6
    for path in store.glob("trials/*/metrics.jsonl"):
        assert [row["epoch"] for row in read_rows(path)] == list(range(EPOCHS))
    for name, seeds in SWEEPS.items():
        trials = pd.read_parquet(store / "tables" / name / "trials.parquet")
        assert trials["status"].tolist() == ["completed"] * len(seeds)
        assert len(pd.read_parquet(store / "tables" / name / "metrics.parquet")) == EPOCHS * len(seeds)
