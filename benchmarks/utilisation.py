"""How soon a sweep trains, and how busy it keeps the cores: ``nnray sweep search_spaces/digits.py`` on an empty store.

first step      from the start of the command to the first training step of a trial, and of each worker
utilisation     share of the time between the start of the first trial and the end of the last in which workers train:
                the sum of the trials' times over that of the cores
alone           how long the last trial ran when no other one did any more

    python benchmarks/utilisation.py --repeats 3 --json utilisation.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from command import nnray

_SPACES = Path(__file__).parents[1] / "search_spaces"
_SPACE = """
import dataclasses
import sys

sys.path.insert(0, {spaces!r})
from digits import sweep as digits


def trials():
    for trial in digits.trials():
        callback = {{"class_path": "first_step.FirstStep", "init_args": {{"folder": {notes!r}}}}}
        yield {{**trial, "trainer.callbacks": [callback]}}


sweep = dataclasses.replace(digits, base={base!r}, trials=trials)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rounds = []
    for number in range(options.repeats):
        rounds.append(measure(cores))
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    for name in ("first_step_s", "utilisation", "alone_s"):
        print(f"{name}: median {statistics.median(measured[name] for measured in rounds):.3f}")
    if options.json:
        options.json.write_text(json.dumps({"cores": cores, "rounds": rounds}, indent=2) + "\n")


def measure(cores: int) -> dict[str, Any]:
    """Run the sweep in a process of its own and read off its store what it did when."""
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="nnray-benchmark-") as folder:
        notes, space = Path(folder, "notes"), Path(folder, "space.py")
        notes.mkdir()
        base = str(_SPACES / "base/digits.yaml")
        space.write_text(_SPACE.format(spaces=str(_SPACES), notes=str(notes), base=base))
        load, begun = os.getloadavg()[0], time.time()
        nnray("sweep", str(space), "--store", f"{folder}/store")
        steps = sorted(float(note.read_text()) - begun for note in notes.iterdir())
        table = pd.read_parquet(Path(folder, "store/tables/digits/trials.parquet"))
    started, ended = (table[name].map(lambda moment: moment.timestamp()).sort_values() for name in ("started", "ended"))
    span, busy = float(ended.iloc[-1] - started.iloc[0]), float(ended.sum() - started.sum())
    return {
        "first_step_s": steps[0],
        "first_steps_s": steps,
        "trials": len(table),
        "span_s": span,
        "utilisation": busy / (cores * span),
        "alone_s": float(ended.iloc[-1] - ended.iloc[-2]),
        "load_average": load,
    }


if __name__ == "__main__":
    main()
