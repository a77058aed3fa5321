"""Stop a sweep or a trial that another command is running, and wait until that is done.

A sweep: every command that is training it ends as on Ctrl-C. Nothing but the running epochs is lost, and nnray sweep
goes on where it stopped.
A trial: it ends after its running epoch, and what it has so far is its result, with the status stopped. With
--resumable it ends at once, without a result; the next command that wants it goes on with it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnray.cli.jobs import add_address_option
from nnray.cli.store_option import add_store_option, existing_store
from nnray.counting import counted
from nnray.errors import StoreError, did_you_mean

if TYPE_CHECKING:
    from nnray.store.stored_trial import StoredTrial
    from nnray.trial.paths import StorePaths

_LOOK_EVERY_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "names",
        metavar="SWEEP|TRIAL",
        nargs="+",
        help="a sweep's name, or a trial's signature, its first digits, or SWEEP/NAME",
    )
    add_store_option(parser)
    add_address_option(parser)
    parser.add_argument("--resumable", action="store_true", help="leave a trial without a result, to be continued")
    parser.add_argument("--no-wait", action="store_true", help="ask, and do not wait until it is done")


@dataclass(frozen=True)
class _Asked:
    """Something that was asked to stop: whether it has, and what to say then."""

    done: Callable[[], bool]
    line: Callable[[], str]


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from nnray.cli.main import EXIT_OK

    store = existing_store(arguments.store)
    sweeps = _sweeps(store)
    # All of them before the first is asked: a name that is nobody's does nothing.
    trials = {name: _trial(store, name, sweeps) for name in arguments.names if name not in sweeps}
    asked = []
    for name in arguments.names:
        asked += _stop_trial(trials[name], arguments.resumable) if name in trials else _stop_sweep(store, name)
    for entry in [] if arguments.no_wait else asked:
        while not entry.done():
            time.sleep(_LOOK_EVERY_S)
        print(entry.line())
    return EXIT_OK


def _sweeps(store: StorePaths) -> set[str]:
    from nnray.store.commands import running_commands

    tables = {path.name for path in store.tables.iterdir() if path.is_dir()} if store.tables.is_dir() else set()
    return tables | {command.sweep for command in running_commands(store)}


def _trial(store: StorePaths, name: str, sweeps: set[str]) -> StoredTrial:
    from nnray.store.finding import find_trial
    from nnray.store.stored_trial import StoredTrial

    if "/" in name or set(name) <= set("0123456789abcdef"):
        return StoredTrial(find_trial(store, name))
    raise StoreError(f"there is no sweep {name!r} in {store.root}{did_you_mean(name, sweeps)}")


def _stop_sweep(store: StorePaths, sweep: str) -> list[_Asked]:
    from nnray.store.commands import Command, running_commands

    commands = running_commands(store, sweep)
    if not commands:
        print(f"{sweep}: no command is training it")

    def stopped(command: Command, place: str) -> _Asked:
        return _Asked(lambda: not command.running, lambda: f"{sweep}: the command on {place} has stopped")

    asked = []
    for command in commands:
        place = command.place
        command.ask_to_stop()
        print(f"{sweep}: asked the command on {place} to stop")
        asked.append(stopped(command, place))
    return asked


def _stop_trial(trial: StoredTrial, resumable: bool) -> list[_Asked]:
    from nnray.store.claim import claim_owner, is_claimed
    from nnray.store.stop_request import StopRequest
    from nnray.store.stored_trial import StoredTrial

    paths = trial.paths
    owner = claim_owner(paths.claim)
    if owner is None or not is_claimed(paths.claim):
        print(f"{paths.signature}: is not running ({trial.status})")
        return []
    StopRequest("interrupt" if resumable else "stop", owner).write(paths.stop)
    print(f"{paths.signature}: asked to stop {'at once' if resumable else 'after its running epoch'}")

    def done() -> bool:
        return not is_claimed(paths.claim) or claim_owner(paths.claim) != owner

    def line() -> str:
        left = StopRequest.read(paths.stop)
        if left is not None and left.addressee == owner:  # it ended by itself just before it could look
            paths.stop.unlink(missing_ok=True)
        now = StoredTrial(paths)
        if now.status == "pending":
            return f"{paths.signature}: interrupted; the next command that wants it goes on with it"
        epochs = counted(len(now.rows), "epochs")
        return f"{paths.signature}: {now.status} after {epochs}; results are kept in {paths.folder}"

    return [_Asked(done, line)]
