"""Show how far a sweep is: trials by status, the running ones with their epochs, the best finished ones.

Without SWEEP, a line per sweep of the store. Columns may be named in full (config/model.init_args.width) or by their
last part (width) where only one has it; trial, name, status, epoch, rate, time and error may be chosen too.

  nnray status digits --watch                           until every trial has a result, or Ctrl-C
  nnray status digits --columns name,width,lr,epoch,val_acc
  nnray status digits --format json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nnray.cli.jobs import add_address_option
from nnray.cli.store_option import add_store_option, existing_store
from nnray.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from nnray.store.progress import SweepProgress, TrialProgress
    from nnray.store.sweep_reader import SweepReader
    from nnray.sweep.watching.progress_table import ProgressTable
    from nnray.trial.paths import StorePaths

_EVERY_S = 1.0
EXIT_OK = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("sweep", metavar="SWEEP", nargs="?", help="the sweep's name; left out: all sweeps of the store")
    parser.add_argument("--watch", action="store_true", help="go on showing it until every trial has a result")
    parser.add_argument("--columns", metavar="A,B,...", help="these columns instead of the usual ones")
    parser.add_argument("--top", metavar="N", type=int, default=20, help="at most N trials of each status (20)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")
    add_store_option(parser)
    add_address_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show it; return the exit status."""
    from nnray.store.sweep_reader import SweepReader
    from nnray.sweep.watching.progress_table import chosen_columns

    store = existing_store(arguments.store)
    if arguments.top < 1:
        raise StoreError(f"--top: {arguments.top} is not a positive number")
    if arguments.sweep is None:
        if arguments.watch or arguments.columns:
            raise StoreError("--watch and --columns are for one sweep: name it")
        return _all_sweeps(store, arguments.format)
    reader = SweepReader(store, arguments.sweep)
    columns = chosen_columns(arguments.columns, reader.names, reader.metric, open_ended=False)
    reader.choose(columns)
    if arguments.format == "json":
        if arguments.watch:
            raise StoreError("--watch shows a table, and --format json prints once")
        print(json.dumps(_plain(reader.read(arguments.top)), indent=1, default=str))
        return EXIT_OK
    if arguments.watch:
        return _watch(reader, columns, arguments.top)
    _console().print(_picture(reader.read(arguments.top), columns))
    return EXIT_OK


def _watch(reader: SweepReader, columns: Sequence[str], top: int) -> int:
    console = _console()
    with contextlib.suppress(KeyboardInterrupt):  # the way to leave it
        (_watch_table if console.is_terminal else _watch_lines)(reader, columns, top, console)
    return EXIT_OK


def _watch_table(reader: SweepReader, columns: Sequence[str], top: int, console: Console) -> None:
    from rich.live import Live

    progress = reader.read(top)
    with Live(_picture(progress, columns), console=console, auto_refresh=False) as live:
        while not _is_over(progress):
            time.sleep(_EVERY_S)
            progress = reader.read(top)
            live.update(_picture(progress, columns), refresh=True)


def _watch_lines(reader: SweepReader, columns: Sequence[str], top: int, console: Console) -> None:
    """Print a line whenever something has changed."""
    from nnray.sweep.watching.progress_table import headline

    said = None
    while True:
        progress = reader.read(top)
        if (line := headline(progress)) != said:
            console.print(line, markup=False, soft_wrap=True)
            sys.stdout.flush()
            said = line
        if _is_over(progress):
            return
        time.sleep(_EVERY_S)


def _is_over(progress: SweepProgress) -> bool:
    return not progress.counts["running"] and not progress.counts["pending"]


def _all_sweeps(store: StorePaths, form: str) -> int:
    from nnray.store.sweep_reader import SweepReader
    from nnray.store.tables import sweeps_with_tables
    from nnray.sweep.watching.progress_table import headline

    found = [SweepReader(store, sweep).read(1) for sweep in sweeps_with_tables(store)]
    if form == "json":
        print(json.dumps([_summary(progress) for progress in found], indent=1))
    else:
        print("\n".join(map(headline, found)) or f"{store.root} has no sweeps yet")
    return EXIT_OK


def _console() -> Console:
    from rich.console import Console

    # In full where it goes to a file or a pipe.
    return Console(width=None if sys.stdout.isatty() else 100_000, highlight=False)


def _picture(progress: SweepProgress, columns: Sequence[str]) -> ProgressTable:
    from nnray.sweep.watching.progress_table import ProgressTable

    return ProgressTable(progress, columns)


def _plain(progress: SweepProgress) -> dict[str, Any]:
    lists = {kind: [_trial(trial) for trial in getattr(progress, kind)] for kind in ("running", "finished", "failed")}
    return {**_summary(progress), **lists}


def _summary(progress: SweepProgress) -> dict[str, Any]:
    from nnray.store.record import STATUSES

    counts = {status: progress.counts[status] for status in STATUSES}
    return {
        "sweep": progress.sweep,
        "metric": progress.metric,
        "trials": progress.total,
        "counts": counts,
        "causes": dict(progress.causes),
        "left_s": progress.left_s,
    }


def _trial(trial: TrialProgress) -> dict[str, Any]:
    told = {**dataclasses.asdict(trial), "left_s": trial.left_s}
    values = told.pop("values")
    told = {"trial": told.pop("signature"), **{key: value for key, value in values.items() if key not in told}, **told}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in told.items()}
