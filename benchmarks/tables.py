"""What the tables of a large sweep cost: those of a store with many trials are kept up, read and rebuilt.

write      a keeper of the tables of the whole sweep is told of finished epochs of sixteen trials, so many a second;
           beside it, bare ``pyarrow.parquet.write_table`` of the same three tables
start      the first tables of a command: from the folders alone, and from what the command before it left
read       ``pandas.read_parquet`` of trials and of metrics, and all of metrics through ``pyarrow.dataset``, DuckDB and
           polars (as Arrow tables); beside them, bare ``pyarrow.parquet.read_table``
rebuild    reading all folders and writing the tables, as ``nnray rebuild`` does before it looks at MLflow: with one
           process that reads, and with one per core
mirror     only where --parts names it: ``nnray rebuild`` as a whole, with MLflow in the store's own database, which is
           empty, and once more with one that has everything; beside it, the same without MLflow

A batch is what a finished epoch adds: its row of metrics, and its trial's new last and best values. What it costs is
processor time, of reading the trial's folder and of its share of writing the tables: all that the keeper takes over
the number of epochs. ``behind_s`` is the longest time from the end of an epoch until the tables hold it. Times of
reading are the clock's, the least of three. Each part runs in a process of its own; ``peak_bytes`` is the peak of its
memory, ``keeper_peak_bytes`` that of the one that kept the tables up before it read them for comparison.

    python benchmarks/tables.py --json tables.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from circumstances import circumstances

from nnray.trial.paths import StorePaths

LIBRARIES = ("pyarrow", "pandas", "duckdb", "polars")
PARTS = ("write", "start", "read", "rebuild", "mirror")
USUAL = PARTS[:-1]
SWEEP = "large"
RUNNING = 16
"""So many trials have not ended: theirs are the epochs that come in."""
METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--trials", type=int, default=10_000, help="number of trials (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of a trial (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="epochs a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long they come in (default: %(default)s)")
    parser.add_argument("--parts", default=",".join(USUAL), help="what to measure (default: %(default)s)")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        part, root = options.one
        result = globals()[f"measure_{part}"](StorePaths(Path(root)), options)
        result["peak_bytes"] = peak_bytes()
        print(json.dumps(result))
        return
    if unknown := sorted(set(options.parts.split(",")) - set(PARTS)):
        parser.error(f"--parts: {unknown[0]!r} is not one of {', '.join(PARTS)}")
    loads, figures = [os.getloadavg()[0]], {}
    with tempfile.TemporaryDirectory() as folder:
        same = ["--trials", str(options.trials), "--epochs", str(options.epochs)]
        same += ["--rate", str(options.rate), "--seconds", str(options.seconds)]
        # A process begins with the memory of the one that started it in its peak: this one imports next to nothing.
        for part in ("store", *sorted(options.parts.split(","), key=PARTS.index)):
            command = [sys.executable, __file__, "--one", part, folder, *same]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            if part == "store":
                continue
            figures[part] = json.loads(done.stdout.splitlines()[-1])
            loads.append(os.getloadavg()[0])
            print(f"{part:8}", "  ".join(f"{key} {value:.4g}" for key, value in figures[part].items()), flush=True)
    if options.json:
        report = {
            **circumstances(LIBRARIES, loads),
            "trials": options.trials,
            "epochs": options.epochs,
            "rate": options.rate,
            **figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def measure_store(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Make the store; its time is no figure."""
    make_store(store, options.trials, options.epochs)
    return {}


def make_store(store: StorePaths, trials: int, epochs: int) -> None:
    """Write the folders of a sweep as its trials leave them; the last :data:`RUNNING` stand before their last epoch."""
    import yaml

    from nnray.store.metrics_log import write_rows
    from nnray.store.record import Record, now
    from nnray.trial import read_configuration_file, resolve, signature_of
    from nnray.trial.config_file import with_checksum

    base = read_configuration_file(Path(__file__).parents[1] / "search_spaces" / "base" / "digits.yaml")
    values = resolve(base).values
    text, draw = yaml.safe_dump(values, sort_keys=False), np.random.default_rng(0)
    for number in range(trials):
        text = text.replace(f"seed: {number - 1}\n", f"seed: {number}\n", 1)
        full = signature_of(values | {"seed": number})
        paths = store.trial(full[:16])
        paths.memberships.mkdir(parents=True)
        paths.config.write_text(with_checksum(text))
        membership = {"name": f"seed={number}", "position": number, "metric": "val_acc", "mode": "max"}
        paths.membership(SWEEP).write_text(json.dumps(membership))
        ended = number < trials - RUNNING
        rows = [row_of(epoch, draw.random(len(METRICS))) for epoch in range(epochs if ended else epochs - 1)]
        write_rows(paths.metrics, rows)
        outcome = {"status": "completed" if ended else "pending", "attempts": 1, "started": now(), "host": "node1"}
        Record(full, **outcome, ended=now() if ended else None, duration_s=0.25 * len(rows), rows=len(rows)).write(
            paths.record
        )


def row_of(epoch: int, values: Any) -> dict[str, Any]:
    """Return the row of an epoch."""
    row = {"epoch": epoch, "step": 23 * (epoch + 1), "time": 1.7e9 + 0.25 * epoch}
    return row | {name: float(value) for name, value in zip(METRICS, values, strict=True)}


def measure_write(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Keep the tables up while epochs come in."""
    import pyarrow.parquet as pq

    from nnray.store.bookkeeper import Pace
    from nnray.store.metrics_log import RowLog, read_rows
    from nnray.store.table_keeper import TableKeeper

    keeper, pace = TableKeeper(store, SWEEP), Pace()
    keeper.update()
    running = [listed.paths for listed in keeper.trials()[-RUNNING:]]
    logs = [RowLog(paths.metrics, read_rows(paths.metrics)) for paths in running]
    epochs = [options.epochs - 1] * len(running)
    draw, noted, writings, spent, behind = np.random.default_rng(1), [], 0, 0.0, 0.0
    begun, count = time.monotonic(), 0
    while time.monotonic() < begun + options.seconds or noted:
        while count < options.rate * min(time.monotonic() - begun, options.seconds):
            at = count % len(running)
            logs[at].append(row_of(epochs[at], draw.random(len(METRICS))))
            epochs[at] += 1
            keeper.note(running[at].signature)
            noted.append(time.monotonic())
            count += 1
        if noted and not pace.wait_s():
            taken = processor_s(keeper.update)
            pace.worked(taken)
            spent, writings = spent + taken, writings + 1
            behind, noted = max(behind, time.monotonic() - noted[0]), []
        time.sleep(0.002)
    peak = peak_bytes()
    tables = {kind: pq.read_table(store.table(SWEEP, kind)) for kind in ("trials", "metrics", "checkpoints")}
    bare = processor_s(lambda: [pq.write_table(table, store.root / "bare") for table in tables.values()])
    return {
        "epochs": count,
        "ms_per_batch": 1e3 * spent / count,
        "writings": writings,
        "s_per_writing": spent / writings,
        "behind_s": behind,
        "keeper_peak_bytes": peak,
        "bare_write_s": bare,
        "over_bare": spent / writings / bare,
        "metrics_bytes": store.table(SWEEP, "metrics").stat().st_size,
        "trials_bytes": store.table(SWEEP, "trials").stat().st_size,
    }


def measure_start(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Write the first tables of a command."""
    from nnray.store.table_keeper import TableKeeper

    store.listing(SWEEP).unlink(missing_ok=True)
    time.sleep(2.5)  # what changed just now is read again in any case
    first = TableKeeper(store, SWEEP)
    begun = time.monotonic()
    cold = processor_s(first.update)
    clock = time.monotonic() - begun
    first.save()
    again = processor_s(TableKeeper(store, SWEEP).update)
    size = store.listing(SWEEP).stat().st_size
    return {
        "from_folders_s": cold,
        "from_folders_clock_s": clock,
        "again_s": again,
        "again_over_folders": again / cold,
        "listing_bytes": size,
    }


def measure_read(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Read the tables."""
    import duckdb
    import pandas as pd
    import polars
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    metrics = str(store.table(SWEEP, "metrics"))
    sides: dict[str, Callable[[], Any]] = {
        "bare": lambda: pq.read_table(metrics),
        "pandas": lambda: pd.read_parquet(metrics),
        "dataset": lambda: ds.dataset(metrics).to_table(),
        "duckdb": lambda: duckdb.sql(f"SELECT * FROM '{metrics}'").to_arrow_table(),
        "polars": lambda: polars.read_parquet(metrics).to_arrow(),
    }
    seconds = {name: least_s(work) for name, work in sides.items()}
    trials = least_s(lambda: pd.read_parquet(store.table(SWEEP, "trials")))
    ratios = {f"{name}_over_bare": seconds[name] / seconds["bare"] for name in sides if name != "bare"}
    return {"rows": pq.read_metadata(metrics).num_rows, "trials_s": trials, **seconds, **ratios}


def measure_rebuild(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Make the tables from the folders, with one process that reads and with as many as there are cores."""
    from nnray.store import reading_processes
    from nnray.store.table_keeper import TableKeeper

    def rebuild(worth_a_process: int) -> float:
        reading_processes._WORTH_A_PROCESS = worth_a_process
        return least_s(lambda: TableKeeper(store, SWEEP).rebuild(), 1)

    spent = spent_s()
    one = rebuild(options.trials + 1)
    spent = spent_s() - spent
    peak = peak_bytes()
    several = rebuild(max(1, options.trials // (os.cpu_count() or 1)))
    return {
        "one_process_s": one,
        "one_process_cpu_s": spent,
        "one_process_peak_bytes": peak,
        "processes": os.cpu_count() or 1,
        "processes_s": several,
        "processes_over_one": several / one,
    }


def measure_mirror(store: StorePaths, options: argparse.Namespace) -> dict[str, float]:
    """Rebuild without MLflow, with an empty MLflow, and with one that has everything already."""
    from nnray.store.bookkeeper import rebuild
    from nnray.store.table_keeper import TableKeeper

    clock = {"tables": lambda: TableKeeper(store, SWEEP).rebuild(), "anew": lambda: rebuild(store, SWEEP)}
    clock["again"] = clock["anew"]
    figures: dict[str, float] = {}
    for name, work in clock.items():
        begun = time.perf_counter()
        figures[f"{name}_cpu_s"] = processor_s(work)
        figures[f"{name}_s"] = time.perf_counter() - begun
    mirrored = figures["anew_cpu_s"] - figures["tables_cpu_s"]
    return {
        **figures,
        "anew_over_tables": figures["anew_cpu_s"] / figures["tables_cpu_s"],
        "again_over_tables": figures["again_cpu_s"] / figures["tables_cpu_s"],
        "mirror_ms_per_trial": 1e3 * mirrored / options.trials,
        "mirror_us_per_value": 1e6 * mirrored / (options.trials * options.epochs * len(METRICS)),
        "database_bytes": store.mlflow_database.stat().st_size,
    }


def peak_bytes() -> int:
    """Return the peak of the memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_MAXRSS


def processor_s(work: Callable[[], Any]) -> float:
    """Return the processor time that ``work`` takes in this process, and in those that it starts and waits for."""
    begun = spent_s()
    work()
    return spent_s() - begun


def spent_s() -> float:
    """Return the processor time of this process, and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def least_s(work: Callable[[], Any], times: int = 3) -> float:
    """Return the least time on the clock of so many calls."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


if __name__ == "__main__":
    main()
