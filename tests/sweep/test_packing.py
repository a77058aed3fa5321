"""Trials that ask for different shares of a GPU, on a Ray that is told of a GPU that nobody needs to have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from commands import ENVIRONMENT

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={
        "model": "visible.Visible",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 640}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    },
    space={"seed": grid(range(10))},
    resources=lambda configuration: {"cpu": 1, "gpu": 0.25 if configuration["seed"] % 2 else 1 / 3},
)
"""
MODEL = """
import os
from user_code import Tiny

class Visible(Tiny):
    def __init__(self, in_channels: int = 1) -> None:
        super().__init__(in_channels=in_channels)
        print("visible:", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""
SWEEP = """
import ray, sys
from nnray.cli.main import main
ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
sys.exit(main(["sweep", "study.py"]))
"""


def test_trials_of_two_kinds_share_warm_workers(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SPACE)
    (tmp_path / "visible.py").write_text(MODEL)
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment["TUNE_GLOBAL_CHECKPOINT_S"] = "1000000"
    done = subprocess.run(
        [sys.executable, "-c", SWEEP], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    store = tmp_path / "nnray-store"
    table = pd.read_parquet(store / "tables/study/trials.parquet")
    assert table["status"].tolist() == ["completed"] * 10
    folders = [store / "trials" / trial for trial in table["trial"]]
    assert all("visible: 0\n" in (folder / "log.txt").read_text() for folder in folders)
    workers = table["config/seed"].groupby(
        [json.loads((folder / "claim.lock").read_text())["pid"] for folder in folders]
    )
    # The trials alternate between the kinds, and yet each of two cores has no more than one process for each kind.
    assert workers.ngroups <= 4
    assert all(seeds.mod(2).nunique() == 1 for _, seeds in workers)
