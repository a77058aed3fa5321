"""Carry out a plan: trials are trained, books are kept, and someone is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass

from nnray.sizes import parse_size
from nnray.store.attempts import INTERRUPTED, note_attempt
from nnray.store.bookkeeper import BooksReport
from nnray.store.bookkeeper_process import BookkeeperProcess
from nnray.store.commands import Command
from nnray.store.stop_request import StopRequest
from nnray.sweep.observer import Observer, Observers
from nnray.sweep.planning.plan import Plan, PlannedTrial
from nnray.sweep.planning.priorities import prioritised
from nnray.sweep.queue import Result, TrialQueue
from nnray.sweep.search import SearchSource, open_search
from nnray.sweep.space_keeping import SpaceKeeper
from nnray.training.kept_code import keep_code
from nnray.training.runner import Run

_RUNNERS_END_IN_S = 5.0
"""How long workers that are being killed may take to be gone."""

Execute = Callable[[TrialQueue, Run, Observer], None]
"""Trains the trials of a queue and tells an observer."""

Executor = AbstractContextManager[Execute]


@dataclass(frozen=True)
class Outcome:
    """How a sweep went.

    Attributes:
        results: What became of the trials that were to be trained, by short signature.
        books: What the bookkeeper says of tables and MLflow.
        interrupted: Whether it was stopped, by Ctrl-C or by another command.
        stopped_by: Who asked it to stop, if it was another command.
        dropped: Trials that were taken out of the sweep while the command ran, and so are trained no more.
        set_aside: Trials that somebody has interrupted, to be continued by another command.
        problem: One line about a mistake that ended a search before its time.
        note: One line about a search that found fewer trials than it was to.
        space: One line about checkpoints that went to keep the sweep's budget, None if it has none.
    """

    results: dict[str, Result]
    books: BooksReport
    interrupted: bool
    stopped_by: str | None = None
    dropped: tuple[PlannedTrial, ...] = ()
    set_aside: tuple[PlannedTrial, ...] = ()
    problem: str | None = None
    note: str | None = None
    space: str | None = None


class _BookObserver:
    """Tells the bookkeeper which trial folders have changed."""

    def __init__(self, books: BookkeeperProcess) -> None:
        self._books = books

    def started(self, trial: PlannedTrial) -> None:
        self._books.note(trial.signature)

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        self._books.note(trial.signature)

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        self._books.note(trial.signature)

    def left(self, trial: PlannedTrial, why: str) -> None:
        self._books.note(trial.signature)

    def waiting(self, elsewhere: int) -> None:
        """Trials of another command change nothing that this one writes."""


def carry_out(
    plan: Plan, run: Run, executor: Executor, display: AbstractContextManager[Observer], mlflow_uri: str | None
) -> Outcome:
    """Write the plan's folders, train what there is to train, and keep the books.

    Args:
        plan: What to do.
        run: How trials are run.
        executor: Gives what trains the trials of a queue; opened only if there is something to train, and before
            anything is written.
        display: Shows a person how it goes, while there is anything to train.
        mlflow_uri: The MLflow server, or None for the store's own database.
    """
    command = Command.new(plan.store, plan.sweep.name)
    run = dataclasses.replace(run, sweep=command.sweep, stop_request=command.requests)
    queue = TrialQueue(prioritised(plan), run.started, command)
    request: StopRequest | None = None
    books: BookkeeperProcess | None = None
    source: SearchSource | None = None
    space: SpaceKeeper | None = None
    interrupted = False
    with ExitStack() as until_all_is_done:
        try:
            with ExitStack() as stack:
                execute = stack.enter_context(nullcontext() if plan.is_done else executor)
                if plan.search is not None and execute is not None:
                    source = stack.enter_context(open_search(plan))
                plan.apply()
                if source is not None:
                    source.resume()
                    queue.feed(source)
                books = BookkeeperProcess(plan.store, plan.sweep.name, mlflow_uri)
                observers: list[Observer] = [_BookObserver(books)]
                if plan.sweep.keep_within is not None:
                    space = SpaceKeeper(plan.store, plan.sweep.name, parse_size(plan.sweep.keep_within), books.note)
                    observers.append(space)
                if execute is not None:
                    run = dataclasses.replace(run, code=keep_code(run.code, plan.store))
                    until_all_is_done.enter_context(command.registered())
                    with display as shown:
                        execute(queue, run, Observers([*observers, shown]))
                if space is not None:
                    space.close()
                books.close()  # before the executor ends, which takes a second
        except KeyboardInterrupt:
            if books is None:
                raise
            interrupted, request = True, command.stop_request
            queue.wait_for_runners(_RUNNERS_END_IN_S)
            for trial in queue.in_hand:
                with suppress(OSError):  # a full disk: a trial that nobody runs is resumed in any case
                    note_attempt(trial.paths, INTERRUPTED)
        finally:
            if books is not None:
                report = books.close()
    return Outcome(
        dict(queue.results),
        report,
        interrupted,
        stopped_by=request.by if request else None,
        dropped=tuple(queue.dropped),
        set_aside=tuple(queue.interrupted),
        problem=source.problem if source is not None else None,
        note=source.note if source is not None else None,
        space=space.line if space is not None else None,
    )
