"""Schedulers beside random search: how good a network each finds with the same number of epochs trained.

The networks are small ones on scikit-learn's digits whose learning rate, weight decay, momentum and batch size are
drawn at random, with fixed seeds. A trial trained to its end takes 9 epochs, and every side has 72 epochs in all,
counted in the order in which they were trained: 8 whole trials for random search, more for a scheduler that stops the
bad ones. What counts is the lowest validation loss that was reached within them.

There are 32 trials. Random search is the distribution over many choices of 8 of them, trained to their end; the
schedulers are given all of them in one order, population based training the first 8.

    python benchmarks/schedulers.py --json schedulers.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nnray
from nnray.cli.main import main as nnray_command

EPOCHS = 9
BUDGET = 72
DRAWS = 1000
METRIC = "val_loss"
BASE: dict[str, Any] = {
    "model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 8}},
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 128}},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
    "trainer": {"max_epochs": EPOCHS},
    "checkpoint": {"keep": "last"},
}
SPACE = """
from ray import tune
from nnray import Sweep
sweep = Sweep(name="study", base={base!r}, trials={trials!r}, metric={metric!r}, mode="min", scheduler={scheduler})
"""
MUTATIONS = '{"optimizer.lr": tune.loguniform(0.0003, 1.0), "optimizer.momentum": tune.uniform(0.0, 0.99)}'
SCHEDULERS = {
    "asha": (32, '{"name": "asha", "reduction_factor": 3}'),
    "median": (32, '{"name": "median"}'),
    "hyperband": (32, '{"name": "hyperband"}'),
    "hb_bohb": (32, '{"name": "hb_bohb"}'),
    "pbt": (8, f'{{"name": "pbt", "perturbation_interval": 2, "synch": True, "hyperparam_mutations": {MUTATIONS}}}'),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedulers", default=",".join(SCHEDULERS), help="which to measure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all draws (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), [name for name in arguments.schedulers.split(",") if name], arguments.seed)
    for name, side in figures["sides"].items():
        print(f"{name:10} {side['best']:.4f}  {side['trials']:2} trials, {side['epochs']} epochs")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, schedulers: list[str], seed: int) -> dict[str, Any]:
    """Return the figures of random search and of ``schedulers``."""
    pool = _sweep(folder / "random", drawn(32, seed), "None")
    lowest = pool.groupby("trial")[METRIC].min().tolist()
    draw = random.Random(seed)
    bests = sorted(min(draw.sample(lowest, BUDGET // EPOCHS)) for _ in range(DRAWS))
    quartiles = statistics.quantiles(bests, n=4)
    sides = {"random": {"best": quartiles[1], "quartiles": quartiles, "trials": BUDGET // EPOCHS, "epochs": BUDGET}}
    for name in schedulers:
        trials, scheduler = SCHEDULERS[name]
        rows = _sweep(folder / name, drawn(trials, seed), scheduler).head(BUDGET)
        sides[name] = {"best": rows[METRIC].min(), "trials": rows["trial"].nunique(), "epochs": len(rows)}
    libraries = {library: version(library) for library in ("torch", "ray", "lightning")}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load_average": os.getloadavg()}
    return {"sides": sides, "seed": seed, **machine, "versions": libraries}


def drawn(count: int, seed: int) -> list[dict[str, Any]]:
    """Return the hyperparameters of ``count`` trials."""
    draw = random.Random(seed)
    return [
        {
            "optimizer.lr": 10 ** draw.uniform(-3.5, 0.0),
            "optimizer.momentum": draw.uniform(0.0, 0.99),
            "optimizer.weight_decay": 10 ** draw.uniform(-6.0, -2.0),
            "data.batch_size": draw.choice([32, 64, 128, 256]),
            "seed": number,
        }
        for number in range(count)
    ]


def _sweep(folder: Path, trials: list[dict[str, Any]], scheduler: str) -> Any:
    """Train ``trials`` and return the epochs of all of them in the order of time."""
    folder.mkdir()
    text = SPACE.format(base=BASE, trials=trials, metric=METRIC, scheduler=scheduler)
    (folder / "study.py").write_text(text)
    nnray_command(["sweep", str(folder / "study.py"), "--store", str(folder / "store")])
    rows = nnray.open(folder / "store").metrics("study").dropna(subset=[METRIC])
    return rows.sort_values("time").reset_index(drop=True)


if __name__ == "__main__":
    main()
