"""Make tables and MLflow runs anew from the trial folders alone, for the sweeps that are named, or for all.

Trials whose folders are damaged are named and left out; the exit status is 1 then. With --verify nothing is made: every
file of the trials is read whole, weights and states to resume from as well, and each that is damaged is named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from nnray.cli.books_lines import mlflow_lines
from nnray.cli.store_option import add_store_option, existing_store
from nnray.counting import counted
from nnray.errors import StoreError, did_you_mean

if TYPE_CHECKING:
    from rich.progress import Progress

    from nnray.trial.paths import StorePaths

EXIT_OK, EXIT_INCOMPLETE = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``nnray rebuild``."""
    parser.add_argument("sweeps", metavar="SWEEP", nargs="*", help="the sweeps' names (default: all)")
    parser.add_argument("--mlflow-uri", metavar="URI", help="an MLflow server, instead of the store's own database")
    parser.add_argument(
        "--verify", action="store_true", help="change nothing: read every file of the trials, and name the damaged ones"
    )
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Rebuild; return the exit status."""
    from rich.console import Console
    from rich.progress import Progress

    from nnray.store.files import seen_at_once
    from nnray.store.membership import sweeps_of, trial_folders

    store = existing_store(arguments.store)
    with seen_at_once(store.trials):
        listed = sorted({sweep for folder in trial_folders(store) for sweep in sweeps_of(folder)})
    for sweep in arguments.sweeps:
        if sweep not in listed:
            raise StoreError(f"no trial in {store.root} is listed in a sweep {sweep!r}{did_you_mean(sweep, listed)}")
    if arguments.verify:
        if arguments.mlflow_uri:
            raise StoreError("--mlflow-uri: --verify looks at trial folders alone, and writes nothing")
        return _verify(store, arguments.sweeps)
    if not arguments.sweeps:
        _remove_unlisted(store, set(listed))
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        whole = [_rebuild(store, sweep, arguments.mlflow_uri, progress) for sweep in arguments.sweeps or listed]
    return EXIT_OK if all(whole) else EXIT_INCOMPLETE


def _verify(store: StorePaths, sweeps: Collection[str]) -> int:
    """Name the damaged files of the trials that are listed in ``sweeps``, of all if there are none there."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    from nnray.store.membership import sweeps_of, trial_folders
    from nnray.store.verification import damages

    folders = [paths for paths in trial_folders(store) if not sweeps or not set(sweeps).isdisjoint(sweeps_of(paths))]
    damaged = 0
    with (
        Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress,
        ThreadPoolExecutor() as pool,
    ):
        found = pool.map(lambda paths: list(damages(paths)), folders)
        for paths, lines in zip(folders, progress.track(found, len(folders), description="verify"), strict=True):
            damaged += bool(lines)
            for line in lines:
                print(f"nnray: trial {paths.signature}: {line}", file=sys.stderr)
    print(f"{counted(len(folders), 'trials')} verified, {damaged} of them damaged")
    return EXIT_INCOMPLETE if damaged else EXIT_OK


def _remove_unlisted(store: StorePaths, listed: set[str]) -> None:
    from nnray.store.files import remove_tree
    from nnray.store.table_block import TABLES

    for table in sorted(store.tables.glob(f"*/{TABLES[-1]}.parquet")):
        if table.parent.name not in listed:
            try:
                remove_tree(table.parent)
            except OSError as error:
                raise StoreError(
                    f"the tables in {table.parent} cannot be removed: {error.strerror or error}"
                ) from error
            print(f"{table.parent.name}: no trial is listed in it any more; removed its tables")


def _rebuild(store: StorePaths, sweep: str, mlflow_uri: str | None, progress: Progress) -> bool:
    """Rebuild one sweep and tell what came out; return whether everything is in its place."""
    from nnray.store.bookkeeper import rebuild
    from nnray.store.membership import members

    count = sum(1 for _ in members(store, sweep))
    folders = progress.add_task(f"{sweep}: trials", total=count)
    runs = progress.add_task(f"{sweep}: MLflow", total=count)
    report = rebuild(
        store,
        sweep,
        mlflow_uri,
        on_read=lambda: progress.advance(folders),
        on_mirrored=lambda: progress.advance(runs),
    )
    if report.problem is None:
        mirrored = "MLflow is off" if mlflow_lines(store, mlflow_uri) else f"{report.mirrored} in MLflow"
        print(f"{sweep}: {counted(report.trials, 'trials')} in tables, {mirrored}")
    for signature, reason in report.damaged.items():
        print(f"nnray: trial {signature} is left out: {reason}", file=sys.stderr)
    if report.missed:
        reason = next(iter(report.missed.values()))
        print(f"nnray: MLflow misses {counted(len(report.missed), 'trials')} of {sweep}: {reason}", file=sys.stderr)
    if report.problem:
        print(f"nnray: the tables of {sweep} could not be written: {report.problem}", file=sys.stderr)
    return not (report.damaged or report.missed or report.problem)
