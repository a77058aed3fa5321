"""Print a sweep's trials: what varies among them and what came out, best first.

Columns may be named in full (config/model.init_args.width) or by their last part (width) where only one has it.
In conditions, names that are not plain words stand in backticks:

  nnray results digits --where 'val_acc > 0.9 and width == 16' --top 10
  nnray results digits --where '`model.width` > 8 and status == "completed"' --columns name,val_acc,lr
  nnray results digits --over seed                      mean and deviation over the seeds
  nnray results digits --format csv > digits.csv        every column
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from nnray.cli.frames import labelled, markdown, print_table, readable_means, readable_trials
from nnray.cli.jobs import add_address_option
from nnray.cli.store_option import add_store_option
from nnray.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

FOR_PEOPLE = ("table", "markdown")
FORMATS = (*FOR_PEOPLE, "csv", "json")
EXIT_OK = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nnray results``."""
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    parser.add_argument("--where", metavar="CONDITION", help="only the trials for which this holds (pandas query)")
    parser.add_argument("--columns", metavar="A,B,...", help="these columns instead of the usual ones")
    parser.add_argument("--sort", metavar="COLUMN", help="order: metrics best first, others ascending")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--top", metavar="N", type=int, help="only the first N rows")
    parser.add_argument(
        "--over", metavar="KEY,...", help="mean, deviation and count of trials that differ in KEY alone"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to print (default: table)")
    add_store_option(parser)
    add_address_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; return the exit status."""
    from nnray.store import open  # noqa: A004 - the name it has for everybody
    from nnray.store.query import find_column, mean_over, metric_columns, ordered, where

    if arguments.top is not None and arguments.top < 1:
        raise StoreError(f"--top: {arguments.top} is not a positive number")
    store = open(arguments.store)
    frame = store.trials(arguments.sweep)
    metric, mode = store.metric(arguments.sweep)
    metrics = metric_columns(frame)
    if arguments.where:
        frame = where(frame, arguments.where)
    if arguments.over:
        frame = mean_over(frame, [find_column(frame, key) for key in arguments.over.split(",")])
    column, descending = _order(frame, arguments.sort or metric, metrics, metric, mode)
    if column is not None:
        frame = ordered(frame, column, descending != arguments.reverse)
    elif arguments.reverse:
        frame = frame[::-1]
    if arguments.top is not None:
        frame = frame.head(arguments.top)
    if arguments.columns:
        frame = frame[[find_column(frame, name) for name in arguments.columns.split(",")]]
        frame = labelled(frame) if arguments.format in FOR_PEOPLE else frame
    elif arguments.format in FOR_PEOPLE:
        frame = readable_means(frame, metrics) if arguments.over else readable_trials(frame, metrics, metric)
    _PRINTERS[arguments.format](frame)
    return EXIT_OK


def _order(
    frame: pd.DataFrame, sort: str | None, metrics: list[str], metric: str | None, mode: str | None
) -> tuple[str | None, bool]:
    """Return the column to sort by, if any, and whether large values come first."""
    from nnray.store.query import find_column, larger_is_better
    from nnray.store.table_block import BEST

    if sort is None:
        return None, False
    column = f"{sort}/mean" if f"{sort}/mean" in frame.columns else find_column(frame, sort)
    name = column.removesuffix("/mean")
    is_metric = name.removeprefix(BEST) in metrics
    return column, is_metric and larger_is_better(name, metric, mode)


def _print_csv(frame: pd.DataFrame) -> None:
    frame.to_csv(sys.stdout, index=False)


def _print_json(frame: pd.DataFrame) -> None:
    rows = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us", double_precision=15))
    print(json.dumps(rows, indent=1))


def _print_markdown(frame: pd.DataFrame) -> None:
    print(markdown(frame))


_PRINTERS = {"table": print_table, "csv": _print_csv, "json": _print_json, "markdown": _print_markdown}
