"""What searches find with a given number of trials, beside random search: small networks on scikit-learn's digits.

Each search trains ``--budget`` networks one after another (a perceptron of one hidden layer, two epochs of SGD, real
trainings through nnray's own queue), over learning rate, momentum, weight decay and width, in ranges much wider than a
person would choose. It is judged by the best validation loss that it has found. Random search is repeated with
``--random-seeds`` seeds, the others with ``--seeds``; every seed is fixed, and one core with one thread trains each
network, so that a machine repeats its own figures.

    python benchmarks/search.py --json search.json
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

SEARCHES: dict[str, Any] = {
    "random": {"name": "random"},
    "Optuna, TPE": {"name": "optuna", "sampler": "tpe", "n_startup_trials": 5},
    "Optuna, CMA-ES": {"name": "optuna", "sampler": "cmaes"},
    "Optuna, Gaussian process": {"name": "optuna", "sampler": "gp"},
    "Optuna, NSGA-II, loss and accuracy": {
        "name": "optuna",
        "sampler": "nsgaii",
        "population_size": 8,
        "objectives": {"val_loss": "min", "val_acc": "max"},
    },
    "Optuna, TPE, loss and accuracy": {"name": "optuna", "objectives": {"val_loss": "min", "val_acc": "max"}},
    "Nevergrad, NGOpt": {"name": "nevergrad", "optimizer": "NGOpt"},
    "Nevergrad, OnePlusOne": {"name": "nevergrad", "optimizer": "OnePlusOne"},
    "Nevergrad, TwoPointsDE": {"name": "nevergrad", "optimizer": "TwoPointsDE"},
    "Nevergrad, CMA": {"name": "nevergrad", "optimizer": "CMA"},
    "Ray Tune's OptunaSearch": "OptunaSearch",
}
LIBRARIES = ("torch", "ray", "optuna", "cmaes", "nevergrad", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=60, help="trials of each search (default: %(default)s)")
    parser.add_argument("--random-seeds", type=int, default=11, help="random searches (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each other kind (default: %(default)s)")
    parser.add_argument("--only", default="", help="searches whose names contain this, and random")
    parser.add_argument("--json", type=Path, help="write what was found here, too")
    arguments = parser.parse_args()

    jobs = [
        (name, seed, arguments.budget)
        for name in SEARCHES
        if name == "random" or arguments.only in name
        for seed in range(arguments.random_seeds if name == "random" else arguments.seeds)
    ]
    began = time.monotonic()
    found: dict[str, list[float]] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        losses = pool.map(best_loss, *zip(*jobs, strict=True))
        for number, ((name, *_), loss) in enumerate(zip(jobs, losses, strict=True), start=1):
            found.setdefault(name, []).append(loss)
            print(f"{number} of {len(jobs)} searches, {time.monotonic() - began:.0f} s", file=sys.stderr)
    median = statistics.median(found["random"])
    print(f"best validation loss after {arguments.budget} trials; random search: median {median:.4f}")
    print(f"{'':38}{'median':>8}{'best':>8}{'worst':>8}  better than random's median")
    for name, values in found.items():
        better = sum(value < median for value in values)
        row = f"{statistics.median(values):8.4f}{min(values):8.4f}{max(values):8.4f}"
        print(f"{name:38}{row}  {better} of {len(values)}")
    if arguments.json:
        report = {
            "budget": arguments.budget,
            "found": found,
            "seconds": time.monotonic() - began,
            "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "load_average": os.getloadavg(),
            "versions": {name: version(name) for name in LIBRARIES},
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def best_loss(name: str, seed: int, budget: int) -> float:
    """Run one search and return the best validation loss that it has found."""
    os.environ.update({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    from ray import tune

    from nnray import Sweep
    from nnray.store.metrics_log import read_rows
    from nnray.store.record import now
    from nnray.sweep.in_process import run_in_process
    from nnray.sweep.observer import Observers
    from nnray.sweep.planning.plan import make_plan
    from nnray.sweep.queue import TrialQueue
    from nnray.sweep.search import open_search
    from nnray.training.code import code_of
    from nnray.training.runner import Run
    from nnray.trial import StorePaths

    search = SEARCHES[name]
    sweep = Sweep(
        name="search",
        base={
            "model": {"class_path": "MLP", "init_args": {"depth": 1}},
            "data": {"class_path": "Digits", "init_args": {"batch_size": 128}},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"nesterov": False}},
            "trainer": {"max_epochs": 2},
            "checkpoint": {"keep": "last"},
        },
        space={
            "optimizer.lr": tune.loguniform(1e-4, 1e1),
            "optimizer.momentum": tune.uniform(0.0, 0.99),
            "optimizer.weight_decay": tune.loguniform(1e-6, 1e-1),
            "model.width": tune.lograndint(4, 64),
        },
        metric="val_loss",
        mode="min",
        search=rays_optuna(seed) if search == "OptunaSearch" else {**search, "seed": seed},
        num_samples=budget,
    )
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder) / "store")
        plan = make_plan(sweep, store, Path(folder))
        queue = TrialQueue(plan.todo, now())
        with open_search(plan) as source:
            plan.apply()
            source.resume()
            queue.feed(source)
            run_in_process(queue, Run(code_of(Path(folder)), now()), Observers([]))
        assert len(queue.results) == budget, source.note or source.problem
        rows = [row for path in store.trials.glob("*/metrics.jsonl") for row in read_rows(path)]
    return min(row["val_loss"] for row in rows if "val_loss" in row)


def rays_optuna(seed: int) -> Any:
    """Return a searcher of Ray Tune, as a person would make one."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(sampler=optuna.samplers.TPESampler(seed=seed))


if __name__ == "__main__":
    main()
