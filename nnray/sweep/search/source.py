"""Trials that a searcher proposes, one by one, and what it is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from nnray.counting import counted
from nnray.errors import NnrayError, SpaceError
from nnray.store.claim import Claim
from nnray.store.format import settle_format
from nnray.store.membership import Ask, Membership
from nnray.store.metrics_log import read_rows
from nnray.store.record import readable_record
from nnray.sweep.planning.adoption import adopt
from nnray.sweep.planning.expansion import resources_of
from nnray.sweep.planning.plan import Plan, PlannedTrial, enlist, planned
from nnray.sweep.queue import Result
from nnray.sweep.search.conversation import PATIENCE, Conversation
from nnray.sweep.search.objectives import evaluation_of, unknown_metric
from nnray.sweep.search.planning import SearchPlan
from nnray.sweep.search.searcher import FAILURE, Evaluation, NothingMoreError
from nnray.trial.configuration import Configuration
from nnray.trial.name import name_of


class SearchSource:
    """Gives a :class:`~nnray.sweep.queue.TrialQueue` its next trial.

    Every point is written into the folder of its trial as soon as it is proposed, and so is when the searcher was told
    what came out: a search that was killed is continued from the folders alone.

    Attributes:
        problem: One line about a mistake that ended the search before its time, None if there is none.

    Args:
        plan: What the command is about to do; has been applied.
    """

    def __init__(self, plan: Plan) -> None:
        assert plan.search is not None
        self._plan, self._search = plan, plan.search
        self._conversation = Conversation(plan.search.searcher, plan.search.space, plan.search.seed)
        self._trials = {trial.signature: trial for trial in plan.trials}
        self._names = {trial.membership.name for trial in plan.trials}
        self._unfinished = {trial.signature for trial in plan.todo}
        self._results = {
            trial.signature: _RESULTS[trial.state] for trial in plan.trials if trial.signature not in self._unfinished
        }
        self._position = max((trial.membership.position for trial in plan.trials), default=-1)
        self._waiting = False
        self._over = False
        self._reported = False
        self._reason: str | None = None
        self.problem: str | None = None

    @property
    def note(self) -> str | None:
        """One line about a search that ended early or was not as good as it could have been, None if it was."""
        title, untellable = self._search.title, self._conversation.untellable
        if self._reason is not None:
            return f"search: {title} {self._reason}: it ends with {counted(len(self._trials), 'trials')}"
        if untellable:
            return f"search: {title} cannot be told of {counted(untellable, 'trials')} that it has not proposed itself"
        return None

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will come."""
        return self._over or len(self._trials) >= self._search.budget

    def resume(self) -> None:
        """Tell the searcher what the store holds, in the order in which it was told before.

        Raises:
            SpaceError: If the searcher fails at it.
        """
        for signature in self._unfinished:
            untold = tuple(replace(ask, told=None, values=None) for ask in self._asks(signature))
            self._record(signature, untold)
        asks = [(ask, signature) for signature in self._trials for ask in self._asks(signature)]
        with _as_space_error(self._search):
            self._conversation.replay(asks, self._evaluation_again)
        for trial in sorted(self._trials.values(), key=_ended):
            if trial.signature in self._results:
                self.tell(trial, self._results[trial.signature])

    def ask(self) -> PlannedTrial | None:
        """Return the next trial, with what the store knows of it, or None if there is none now."""
        try:
            with _as_space_error(self._search):
                return self._next()
        except NnrayError as error:
            self._over, self.problem = True, str(error)
            return None

    def tell(self, trial: PlannedTrial, result: Result) -> None:
        """Tell the searcher what became of a trial."""
        self._results[trial.signature] = result
        self._unfinished.discard(trial.signature)
        self._waiting = False
        asks = self._asks(trial.signature)
        if all(ask.told is not None for ask in asks) or self.problem is not None:
            return
        evaluation = self._evaluation(trial, result)
        if self.problem is not None:
            return
        try:
            with _as_space_error(self._search):
                told = tuple(self._conversation.tell(ask, evaluation) if ask.told is None else ask for ask in asks)
        except NnrayError as error:
            self._over, self.problem = True, str(error)
            return
        self._record(trial.signature, told)

    def leave(self, trial: PlannedTrial) -> None:
        """Note that a trial will have no result in this command; the searcher is told when another one has it."""
        self._unfinished.discard(trial.signature)
        self._waiting = False

    def _next(self) -> PlannedTrial | None:
        for _ in range(PATIENCE):
            if self.exhausted or self._waiting:
                return None
            try:
                ask = self._conversation.ask()
            except NothingMoreError:
                self._stop("proposes nothing more")
                return None
            if ask is None:
                self._wait()
                return None
            configuration = self._search.configuration(ask.point)
            known = self._trials.get(configuration.signature)
            if known is None:
                return self._new(ask, configuration)
            self._record(known.signature, (*self._asks(known.signature), ask))
            if known.signature in self._unfinished:
                self._wait()  # it may have something else once it knows what came out
            elif known.signature in self._results:
                self.tell(known, self._results[known.signature])
        self._stop(f"has proposed known trials {PATIENCE} times in a row")
        return None

    def _new(self, ask: Ask, configuration: Configuration) -> PlannedTrial:
        sweep = self._plan.sweep
        name = name_of(self._search.space.varied(ask.point))
        if name in self._names:
            name = f"{name} ({len(self._trials) + 1})"
        self._names.add(name)
        self._position += 1
        membership = Membership(name, self._position, sweep.metric, sweep.mode, (ask,))
        resources = resources_of(sweep, configuration, name)
        if resources.workers != configuration.values["workers"]:
            raise SpaceError(
                "resources: how many workers train a trial of a search is to be said in its configuration (workers: "
                f"{resources.workers}), not by a function"
            )
        trial = planned(self._plan.store, configuration, membership, resources)
        if trial.former is not None:
            adopt(trial.former, trial.paths)
        if trial.damage is None:
            enlist(trial.paths, trial.configuration, membership, sweep.name)
        if self._plan.is_retried(trial):
            trial = replace(trial, state="run")
        self._trials[trial.signature] = trial
        self._unfinished.add(trial.signature)
        return trial

    def _wait(self) -> None:
        if self._unfinished:
            self._waiting = True
        else:
            self._stop("waits for results that are not on their way")

    def _stop(self, reason: str) -> None:
        self._over, self._reason = True, reason

    def _evaluation(self, trial: PlannedTrial, result: Result) -> Evaluation:
        if result == "failed":
            record = readable_record(trial.paths)
            return self._worst() if record is not None and record.cause == "diverged" else FAILURE
        rows = read_rows(trial.paths.metrics)
        problem = unknown_metric(rows, self._search.objectives)
        if problem is not None and not self._reported:
            self._over, self.problem = True, problem
        self._reported = self._reported or problem is None
        return evaluation_of(rows, self._search.objectives)

    def _worst(self) -> Evaluation:
        """Return what a diverged trial is told as: of each objective the worst so far.

        As a mere failure a searcher would learn nothing from it, and go on proposing its like.
        """
        told = [
            ask.values for trial in self._trials.values() for ask in trial.membership.asks if ask.values is not None
        ]
        if not told:
            return FAILURE
        worst = (min if mode == "max" else max for mode in self._search.objectives.values())
        return Evaluation(tuple(of(values) for of, values in zip(worst, zip(*told, strict=True), strict=True)))

    def _evaluation_again(self, ask: Ask, signature: str) -> Evaluation:
        if ask.values is None:
            return FAILURE
        self._reported = True
        epochs = evaluation_of(read_rows(self._trials[signature].paths.metrics), self._search.objectives).epochs
        return Evaluation(tuple(ask.values), epochs)

    def _asks(self, signature: str) -> tuple[Ask, ...]:
        return self._trials[signature].membership.asks

    def _record(self, signature: str, asks: tuple[Ask, ...]) -> None:
        trial = self._trials[signature]
        membership = replace(trial.membership, asks=asks)
        if trial.damage is None:
            membership.write(trial.paths, self._plan.sweep.name)
        self._trials[signature] = replace(trial, membership=membership)


@contextmanager
def open_search(plan: Plan) -> Iterator[SearchSource]:
    """Yield what gives the trials of a plan's search, as long as no other command does.

    Raises:
        SpaceError: If another command searches for the same sweep.
    """
    settle_format(plan.store.root)
    lock = plan.store.search_lock(plan.sweep.name)
    lock.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim.acquire(lock)
    if claim is None:
        raise SpaceError(
            f"another command is searching for {plan.sweep.name} in the store {plan.store.root}; "
            f"nnray stop {plan.sweep.name} ends it"
        )
    with claim:
        yield SearchSource(plan)


@contextmanager
def _as_space_error(search: SearchPlan) -> Iterator[None]:
    """Make one line of whatever a searcher raises."""
    try:
        yield
    except (NnrayError, OSError):
        raise
    except Exception as error:
        raise SpaceError(f"search: {search.title}: {type(error).__name__}: {' '.join(str(error).split())}") from error


_RESULTS: dict[str, Result] = {
    "complete": "completed",
    "stopped": "stopped",
    "failed": "failed",
    "damaged": "failed",
}


def _ended(trial: PlannedTrial) -> float:
    ended = trial.record.ended if trial.record is not None else None
    return ended.timestamp() if ended is not None else 0.0
