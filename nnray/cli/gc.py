"""Remove what a store needs no more; with --keep-within, also checkpoints, until the rest fits.

Without options that is: what killed processes left half written, resume states of completed trials, notes of commands
that are gone, code that no trial refers to, and data sets in shared memory on this machine that no process uses.

With --keep-within, checkpoints of trials that are completed or were stopped go, the trial that ended first and its
earliest epochs first. Never does a trial's last one go, nor its best by the metric of a sweep, nor one that an analysis
was made of, nor one of a trial that is being trained or that a sweep lists which is not named. The exit status is 1 if
the rest doesn't fit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnray.cli.confirmation import confirm
from nnray.cli.store_option import add_store_option, existing_store
from nnray.counting import counted
from nnray.errors import StoreError, did_you_mean
from nnray.sizes import parse_size, size_text

if TYPE_CHECKING:
    from rich.progress import Progress

    from nnray.store.record import Record
    from nnray.store.space import Excess, Removal
    from nnray.trial.paths import StorePaths, TrialPaths

EXIT_OK, EXIT_OVER = 0, 1
SHARED = "data sets that commands shared on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("sweeps", metavar="SWEEP", nargs="*", help="look at the trials of these sweeps alone")
    parser.add_argument("--keep-within", metavar="SIZE", type=_size, help="what checkpoints may take up: 20GB, 500MiB")
    parser.add_argument(
        "--unlisted",
        action="store_true",
        help="also the checkpoints and states of trials that no sweep lists, but for those of analyses",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would go, and remove nothing")
    parser.add_argument("--list", action="store_true", help="show each file")
    parser.add_argument("--yes", action="store_true", help="do not ask before anything is removed")
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from nnray.store.space import remove_all

    store = existing_store(arguments.store)
    with _bar() as progress:
        folders, sweeps = _folders(store, arguments.sweeps)
        waste = _waste(store, folders, arguments, progress)
        excess = None if arguments.keep_within is None else _excess(store, folders, arguments, waste, progress)
    shared = [] if arguments.sweeps else _shared()
    removals = [*waste, *(excess.removals if excess else ())]
    _show([*removals, *shared], arguments.list)
    if excess is not None:
        print(_budget_line(excess))
    if not arguments.dry_run:
        if removals or shared:
            size = size_text(sum(removal.size for removal in (*removals, *shared)))
            confirm([f"removes {counted(len(removals) + len(shared), 'files')} ({size})"], arguments.yes)
        with _bar() as progress:
            task = progress.add_task("removing", total=len(removals))
            removed = remove_all(removals, lambda _: progress.advance(task))
        if shared:
            _remove_shared()
        _tell_kept(len(removals) - len(removed))
        _refresh(store, sweeps)
    return EXIT_OVER if excess is not None and excess.is_over else EXIT_OK


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _folders(store: StorePaths, named: list[str]) -> tuple[list[TrialPaths], list[str]]:
    """Return the folders to look at, and the sweeps whose tables tell of them."""
    from nnray.store.files import seen_at_once
    from nnray.store.membership import sweeps_of, trial_folders

    with seen_at_once(store.trials):
        listed = {folder: sweeps_of(folder) for folder in trial_folders(store)}
    known = sorted({sweep for sweeps in listed.values() for sweep in sweeps})
    for sweep in named:
        if sweep not in known:
            raise StoreError(f"no trial in {store.root} is listed in a sweep {sweep!r}{did_you_mean(sweep, known)}")
    if not named:
        return list(listed), known
    folders = [folder for folder, sweeps in listed.items() if not set(named).isdisjoint(sweeps)]
    return folders, sorted({sweep for folder in folders for sweep in listed[folder]})


def _waste(
    store: StorePaths, folders: list[TrialPaths], arguments: argparse.Namespace, progress: Progress
) -> list[Removal]:
    from nnray.store.claim import is_claimed
    from nnray.store.files import at_a_time, seen_at_once
    from nnray.store.record import Record
    from nnray.store.space import referenced, waste_of_store, waste_of_trial

    now, needed = _now(store), referenced(store)
    found: list[Removal] = []
    records: list[Record] | None = []
    task = progress.add_task("trials", total=len(folders))

    def look(folder: TrialPaths) -> tuple[Record | None, str | None, list[Removal]]:
        record, damage = None, None
        try:
            record = Record.read(folder.record)
        except StoreError as error:
            damage = str(error)
        claimed = is_claimed(folder.claim)
        return record, damage, [] if claimed else waste_of_trial(folder, record, now, needed, arguments.unlisted)

    with seen_at_once(store.trials):
        for record, damage, waste in at_a_time(store.trials, look, folders):
            if damage is not None:
                print(f"nnray: {damage}", file=sys.stderr)
                records = None
            elif record is not None and records is not None:
                records.append(record)
            found += waste
            progress.advance(task)
    return found if arguments.sweeps else [*found, *waste_of_store(store, records, now)]


def _now(store: StorePaths) -> float:
    from nnray.store.files import store_clock

    try:
        return store_clock(store.root)
    except OSError:  # a store that can only be read
        return time.time()


def _excess(
    store: StorePaths,
    folders: list[TrialPaths],
    arguments: argparse.Namespace,
    waste: list[Removal],
    progress: Progress,
) -> Excess:
    from nnray.store.space import Budget, referenced

    gone = {removal.path for removal in waste}
    task = progress.add_task("checkpoints", total=len(folders))
    budget = Budget(arguments.keep_within, arguments.sweeps or None, gone)
    return budget.excess(folders, referenced(store), lambda: progress.advance(task))


def _shared() -> list[Removal]:
    from nnray.data.node_sharing import unused
    from nnray.store.space import Removal
    from nnray.store.space.removal import size_of

    return [Removal(SHARED, folder, size_of(folder)) for folder in unused()]


def _remove_shared() -> None:
    from nnray.data.node_sharing import remove_unused

    remove_unused()


def _show(removals: list[Removal], each: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    if not removals:
        print("nothing to remove")
        return
    if each:
        for removal in removals:
            print(f"{removal.size:>12} {removal.path}")
    table = Table(box=None, pad_edge=False)
    table.add_column("what goes")
    table.add_column("number", justify="right")
    table.add_column("size", justify="right")
    kinds = dict.fromkeys(removal.what for removal in removals)
    for kind in kinds:
        sizes = [removal.size for removal in removals if removal.what == kind]
        table.add_row(kind, str(len(sizes)), size_text(sum(sizes)))
    if len(kinds) > 1:
        table.add_row("all", str(len(removals)), size_text(sum(removal.size for removal in removals)))
    Console(file=sys.stdout, highlight=False).print(table)


def _budget_line(excess: Excess) -> str:
    line = f"checkpoints: {size_text(excess.total)}"
    if excess.removals:
        line += f", and {size_text(excess.left)} afterwards"
    if excess.is_over:
        return f"{line}, more than {size_text(excess.limit)}: the rest are last, best, needed or of unfinished trials"
    return f"{line}, within {size_text(excess.limit)}"


def _tell_kept(kept: int) -> None:
    if kept:
        print(f"{kept} stayed: their trials are being trained, or somebody else has removed them")


def _refresh(store: StorePaths, sweeps: list[str]) -> None:
    """Bring the tables up to the folders, also where nothing went: a command that was killed may have left them."""
    from nnray.store.table_keeper import TableKeeper

    with _bar() as progress:
        for sweep in progress.track(sweeps, description="tables"):
            tables = TableKeeper(store, sweep)
            tables.update()
            if tables.problem is not None:
                print(f"nnray: the tables of {sweep} could not be written: {tables.problem}", file=sys.stderr)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress
