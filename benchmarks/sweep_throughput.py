"""Trials per second of a grid of small trials: nnray beside Ray Tune, plain loops of Lightning fits, and plain PyTorch.

A trial is three epochs on scikit-learn's digits (1,280 images of 8x8 pixels to train on, 256 for validation), batches
of 128, a network of two convolutions, AdamW. Four ways to run a grid of them, each in as many processes as there are
cores, with one compute thread per process:

a   ``nnray sweep``, with all its books: trial folders, a checkpoint and a state to resume from after each epoch, tables
    in Parquet, MLflow on SQLite
b   Ray Tune as its users write it: a function trainable with a Lightning Trainer and Tune's callback for Lightning, the
    MLflow logger callback on SQLite, everything else at its default
c   a plain loop of Lightning fits with ordinary DataLoaders, without logger and checkpoints
d   a plain loop of PyTorch, written by hand, with ordinary DataLoaders
e   like d, with batches cut by indexing the data set's tensors instead of DataLoaders

What is counted: the clock starts when every process has ended its first trial, which is not counted; so neither
imports nor the start of Ray are. It stops when the last trial has ended, for b when ``Tuner.fit`` returns, and for a at
the last change to the tables or to a run in MLflow. What came before is given as "start-up". b is slow, since Tune
starts a process for each trial, which imports everything again: it is given fewer trials.

The second figure, ``--overhead``, is what a trial costs in nnray beyond its training: the time per trial of sweeps of
trials that do next to nothing (one epoch of one batch that computes nothing, one weight, one metric), counted in the
same way. Everything that nnray does for a trial is in it, Lightning's preparations and Ray Tune's controller included.

    python benchmarks/sweep_throughput.py --repeats 3 --overhead 100,1000,4000 --json sweep_throughput.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from throughput.grid import Measured, Trial, grid
from throughput.nnray_sweep import nnray_sweep, nothing_sweep
from throughput.plain_loops import indexing_loop, lightning_loop, pytorch_loop
from throughput.ray_tune import tune_sweep

SIDES: dict[str, tuple[str, Callable[[list[Trial], int], Measured]]] = {
    "a": ("nnray", nnray_sweep),
    "b": ("Ray Tune", tune_sweep),
    "c": ("Lightning loop", lightning_loop),
    "d": ("PyTorch loop", pytorch_loop),
    "e": ("PyTorch loop, indexing", indexing_loop),
}
LIBRARIES = ("torch", "lightning", "ray", "mlflow", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="a,b,c,d", help="what to measure (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=64, help="trials that are counted (default: %(default)s)")
    parser.add_argument("--tune-trials", type=int, default=16, help="the same for Ray Tune (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds over all sides (default: %(default)s)")
    parser.add_argument("--overhead", metavar="N,N,...", default="", help="numbers of trials that do nothing")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    options = parser.parse_args()
    sides = [side for side in options.sides.split(",") if side]
    if unknown := sorted(set(sides) - set(SIDES)):
        parser.error(f"--sides: there is no side {unknown[0]!r}; there are {','.join(SIDES)}")
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

    rounds: dict[str, list[Measured]] = {side: [] for side in sides}
    loads = [os.getloadavg()[0]]
    for number in range(options.repeats):
        for side in sides if number % 2 == 0 else reversed(sides):
            trials = options.tune_trials if side == "b" else options.trials
            rounds[side].append(SIDES[side][1](grid(trials + processes), processes))
            loads.append(os.getloadavg()[0])
            print(f"round {number + 1}: {_line(side, rounds[side][-1], processes)}", flush=True)
    throughput = {side: _summary(side, measured, processes) for side, measured in rounds.items()}
    _print_table(throughput)

    overhead = [_overhead(int(count), processes) for count in options.overhead.split(",") if count]
    if options.json:
        report = {
            "machine": _machine(processes),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
            "load_average": {"before": loads[0], "highest": max(loads)},
            "throughput": throughput,
            "ratios": _ratios(throughput),
            "overhead": overhead,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _line(side: str, measured: Measured, processes: int) -> str:
    name = SIDES[side][0]
    rate, each = 1 / measured.s_per_trial, processes * measured.s_per_trial
    accuracy = statistics.mean(measured.val_acc)
    return (
        f"{side}  {name:23} {measured.trials:4} trials  {rate:7.2f} trials/s  {each:7.3f} s a trial and core"
        f"  (start-up {measured.startup_s:.1f} s, accuracy {accuracy:.3f})"
    )


def _summary(side: str, rounds: list[Measured], processes: int) -> dict[str, Any]:
    each = statistics.median(measured.s_per_trial for measured in rounds)
    return {
        "name": SIDES[side][0],
        "trials_per_s": 1 / each,
        "s_per_trial": each,
        "s_per_trial_and_core": processes * each,
        "startup_s": statistics.median(measured.startup_s for measured in rounds),
        "val_acc": statistics.mean(accuracy for measured in rounds for accuracy in measured.val_acc),
        "rounds": [asdict(measured) for measured in rounds],
    }


def _ratios(throughput: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return how many times as many trials nnray trains in a second as each other side."""
    if "a" not in throughput:
        return {}
    own = throughput["a"]["trials_per_s"]
    return {f"a/{side}": own / summary["trials_per_s"] for side, summary in throughput.items() if side != "a"}


def _print_table(throughput: dict[str, dict[str, Any]]) -> None:
    ratios = _ratios(throughput)
    if throughput:
        print(f"\n{'':26} {'trials/s':>9} {'s a trial and core':>19} {'start-up s':>11} {'nnray is':>9}")
    for side, summary in throughput.items():
        ratio = f"{ratios[f'a/{side}']:8.2f}x" if f"a/{side}" in ratios else ""
        figures = f"{summary['trials_per_s']:9.2f} {summary['s_per_trial_and_core']:19.3f} {summary['startup_s']:11.1f}"
        print(f"{side}  {summary['name']:23} {figures} {ratio:>9}")


def _overhead(count: int, processes: int) -> dict[str, Any]:
    measured = nothing_sweep(count)
    each = measured.s_per_trial
    print(
        f"overhead of {count:5} trials that do nothing: {1e3 * each:6.1f} ms a trial,"
        f" {1e3 * processes * each:6.1f} ms a trial and core (start-up {measured.startup_s:.1f} s)",
        flush=True,
    )
    return {
        "trials": count,
        "counted": measured.trials,
        "ms_per_trial": 1e3 * each,
        "ms_per_trial_and_core": 1e3 * processes * each,
        "startup_s": measured.startup_s,
    }


def _machine(processes: int) -> dict[str, Any]:
    from nnray.training.provenance import processor

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"processor": processor(), "cores": processes, "memory_GiB": round(memory, 1), "system": platform.platform()}


if __name__ == "__main__":
    main()
