"""What it costs to plan a sweep: from the space to trials that are expanded, signed, named and looked up in the store.

grid        a grid of five widths, twenty learning rates and as many seeds as make up the number of trials
samples     learning rate and weight decay drawn log-uniformly at two widths, five seeds each: no two optimizers alike

Beside nnray, for a trial of the same space:

parse       each configuration parsed anew by jsonargparse, which is what a plan takes that remembers nothing
tune        Ray Tune's own variant generator, which makes nested dicts and neither checks nor signs nor looks them up
hash        JSON and SHA-256 of a configuration that is there already: the least that a signature takes

Times are processor time, which moves less than the clock's on a machine that others use; imports are not counted. Each
number of trials is measured in a process of its own. Memory is what the process's peak grew by, from before the plan.

    python benchmarks/planning.py --json planning.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from circumstances import circumstances

from nnray import Sweep, grid

SPACES = ("grid", "samples")
LIBRARIES = ("jsonargparse", "ray", "torch")
BASE = Path(__file__).parents[1] / "search_spaces" / "base" / "digits.yaml"
COMPARED = 500
"""So many trials are enough for the time that one takes on the other sides."""
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--trials", default="1000,10000,100000", help="numbers of trials (default: %(default)s)")
    parser.add_argument("--spaces", default=",".join(SPACES), help="what to plan (default: %(default)s)")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    if unknown := sorted(set(options.spaces.split(",")) - set(SPACES)):
        parser.error(f"--spaces: {unknown[0]!r} is not one of {', '.join(SPACES)}")
    loads, plans = [os.getloadavg()[0]], []
    for space in options.spaces.split(","):
        for trials in options.trials.split(","):
            command = [sys.executable, __file__, "--one", space, trials]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            plans.append(json.loads(done.stdout.splitlines()[-1]))
            loads.append(os.getloadavg()[0])
            print(_line(plans[-1]), flush=True)
    if options.json:
        report = {
            **circumstances(LIBRARIES, loads),
            "plans": plans,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def space_of(kind: str, trials: int) -> Sweep:
    """Return a sweep of about so many trials."""
    from ray import tune

    if kind == "grid":
        seeds = math.ceil(trials / 100)
        rates = grid(0.001 * step for step in range(1, 21))
        space = {"model.width": grid(8, 16, 24, 32, 40), "optimizer.lr": rates, "seed": grid(range(seeds))}
        return Sweep(name="planning", base=BASE, space=space)
    space = {
        "model.width": grid(8, 16),
        "optimizer.lr": tune.loguniform(1e-4, 1e-1),
        "optimizer.weight_decay": tune.loguniform(1e-6, 1e-2),
    }
    return Sweep(name="planning", base=BASE, space=space, num_samples=math.ceil(trials / 10), replicates=5)


def measure(kind: str, trials: int) -> dict[str, Any]:
    """Return the figures of one plan and, per trial, of the other sides."""
    from nnray.sweep.planning.plan import make_plan
    from nnray.trial import StorePaths

    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        make_plan(space_of(kind, 10), store, BASE.parent)  # what is imported when it is first used
        sweep, before = space_of(kind, trials), _peak_bytes()
        seconds, plan = _timed(lambda: make_plan(sweep, store, BASE.parent))
        grown = _peak_bytes() - before
    ms = 1e3 * seconds / len(plan.trials)
    sides = {"parse": _parse(sweep), "tune": _tune(sweep), "hash": _hash(plan.trials[0].configuration.values)}
    return {
        "space": kind,
        "trials": len(plan.trials),
        "seconds": seconds,
        "ms_per_trial": ms,
        "bytes_per_trial": grown / len(plan.trials),
        "peak_growth_bytes": grown,
        "others_ms_per_trial": sides,
        "ratios": {name: ms / other for name, other in sides.items()},
    }


def _parse(sweep: Sweep) -> float:
    from nnray.trial import components, resolve

    def parse_all() -> None:
        for raw in islice(sweep.configurations(BASE.parent), COMPARED // 10):
            for cache in (components._template, components._filled, components._resolved):
                cache.cache_clear()
            resolve(raw).full_signature  # noqa: B018 - computed when it is asked for

    return 1e3 * _timed(parse_all)[0] / (COMPARED // 10)


def _tune(sweep: Sweep) -> float:
    from ray import tune
    from ray.tune.search.variant_generator import generate_variants

    from nnray.space import Grid

    base: dict[str, Any] = sweep.base_configuration(BASE.parent)
    varied = {key: tune.grid_search(list(v)) if isinstance(v, Grid) else v for key, v in sweep.space.items()}

    def variants() -> Iterator[Any]:
        while True:
            yield from generate_variants({**base, **varied})

    return 1e3 * _timed(lambda: list(islice(variants(), COMPARED)))[0] / COMPARED


def _hash(values: Any) -> float:
    def sign() -> None:
        for _ in range(COMPARED):
            hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    return 1e3 * _timed(sign)[0] / COMPARED


def _timed(work: Any) -> tuple[float, Any]:
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_MAXRSS


def _line(plan: dict[str, Any]) -> str:
    others = ", ".join(f"{plan['ratios'][name]:.3g} of {name}" for name in plan["ratios"])
    return (
        f"{plan['space']:8} {plan['trials']:7} trials  {plan['seconds']:6.1f} s  {plan['ms_per_trial']:.3f} ms and "
        f"{plan['bytes_per_trial']:6.0f} bytes a trial;  time over that of the others: {others}"
    )


if __name__ == "__main__":
    main()
