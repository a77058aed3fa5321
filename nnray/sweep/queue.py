"""Which trial comes next, when other commands may be training some of the same ones."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from nnray.errors import StoreError
from nnray.space.resources import Resources
from nnray.store.claim import is_claimed
from nnray.store.commands import Command
from nnray.store.record import Record
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.ready import ReadyTrials

if TYPE_CHECKING:
    from nnray.training.runner import Outcome

Result = Literal["completed", "stopped", "failed"]

_RESULTS: dict[str, Result] = {
    "complete": "completed",
    "stopped": "stopped",
    "failed": "failed",
    "damaged": "failed",
}
_LOOK_AGAIN_S = 0.5


class TrialSource(Protocol):
    """Gives trials that nobody knew of when the command started: those of a search."""

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will come."""

    def ask(self) -> PlannedTrial | None:
        """Return the next trial, which is listed in its sweep already, or None if there is none at the moment.

        One whose state says that it is complete, was stopped or has failed is not trained again.
        """

    def tell(self, trial: PlannedTrial, result: Result) -> None:
        """Note what became of a trial, whether it came from here or not."""

    def leave(self, trial: PlannedTrial) -> None:
        """Note that a trial will have no result in this command."""


class TrialQueue:
    """Hands out trials one by one and learns what became of them.

    A trial that another command is training is put aside and looked at again until its record says how it ended, or
    its claim is free because its runner died.

    Args:
        trials: What is to be trained, in order.
        started: When the command started; a trial that another command saw fail since then has failed here too.
        command: The command that trains them, so that trials can be taken out of its sweep, and it can be stopped,
            while it runs.
    """

    def __init__(self, trials: Iterable[PlannedTrial], started: datetime, command: Command | None = None) -> None:
        self._ready = ReadyTrials(trials)
        self._elsewhere: dict[str, PlannedTrial] = {}
        self._here: dict[str, PlannedTrial] = {}
        self._started = started
        self._looked = 0.0
        self._source: TrialSource | None = None
        self._command = command
        self._asked = 0.0
        self.results: dict[str, Result] = {}
        self.dropped: list[PlannedTrial] = []
        """Trials that are trained no more, since the sweep lists them no longer."""
        self.interrupted: list[PlannedTrial] = []
        """Trials that somebody has interrupted; another command may go on with them."""

    @property
    def is_fed(self) -> bool:
        """Whether further trials depend on results: it is no use then to take more than can run."""
        return self._source is not None

    def feed(self, source: TrialSource) -> None:
        """Take trials from ``source`` where no other is left, and tell it every result."""
        self._source = source

    @property
    def exhausted(self) -> bool:
        """Whether every trial has a result."""
        known = self._ready or self._elsewhere or self._here
        return not known and (self._source is None or self._source.exhausted)

    @property
    def wanted(self) -> Counter[Resources]:
        """How many trials are known and have no result yet, by what they occupy; may be read by another thread."""
        taken = (*list(self._here.values()), *list(self._elsewhere.values()))
        return Counter(self._ready.counts()) + Counter(trial.resources for trial in taken)

    @property
    def elsewhere(self) -> int:
        """How many trials another command is training."""
        return len(self._elsewhere)

    def running(self, signature: str) -> PlannedTrial | None:
        """Return the trial of that signature if it was handed out and has no result yet."""
        return self._here.get(signature)

    def wait_for_runners(self, seconds: float) -> None:
        """Wait until no trial that was handed out is being trained any more, ``seconds`` at most."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(is_claimed(trial.paths.claim) for trial in self._here.values()):
            time.sleep(0.05)

    def take(self, fits: Callable[[Resources], bool] = lambda resources: True) -> PlannedTrial | None:
        """Return a trial to train now whose resources fit, or None if there is none at the moment."""
        self.heed_requests()
        self._look_elsewhere()
        while (trial := self._next(fits)) is not None:
            if self._is_unlisted(trial):
                self._leave(trial, self.dropped)
                continue
            result = self._result_on_disk(trial)
            if result is not None:
                self._end(trial, result)
            elif is_claimed(trial.paths.claim):
                self._elsewhere[trial.signature] = trial
            else:
                self._here[trial.signature] = trial
                return trial
        return None

    def settle(self, signature: str, outcome: Outcome) -> None:
        """Note what became of a trial that :meth:`take` handed out; one that was interrupted has no result."""
        if outcome == "interrupted":
            self.heed_requests(at_once=True)
        trial = self._here.pop(signature)
        if outcome == "claimed":
            self._elsewhere[signature] = trial
        elif outcome != "interrupted":
            self._end(trial, outcome)
        else:
            self._leave(trial, self.dropped if self._is_unlisted(trial) else self.interrupted)

    def try_again(self, trial: PlannedTrial) -> None:
        """Put a trial that :meth:`take` handed out back, perhaps with other resources, to be handed out once more."""
        del self._here[trial.signature]
        self._ready.append(trial)

    @property
    def in_hand(self) -> tuple[PlannedTrial, ...]:
        """The trials that were handed out and have no result yet."""
        return tuple(self._here.values())

    def heed_requests(self, at_once: bool = False) -> None:
        """Leave as on Ctrl-C if somebody has asked the command to stop; looks now and then, or ``at_once``."""
        if self._command is None or (not at_once and time.monotonic() - self._asked < _LOOK_AGAIN_S):
            return
        self._asked = time.monotonic()
        if self._command.requests.exists():
            raise KeyboardInterrupt

    def _next(self, fits: Callable[[Resources], bool]) -> PlannedTrial | None:
        trial = self._ready.pop(fits)
        if trial is not None or self._source is None or self._ready:
            return trial
        while (trial := self._source.ask()) is not None and trial.state in _RESULTS:
            self._end(trial, _RESULTS[trial.state])
        if trial is None or fits(trial.resources):
            return trial
        self._ready.append(trial)
        return None

    def _end(self, trial: PlannedTrial, result: Result) -> None:
        self.results[trial.signature] = result
        if self._source is not None:
            self._source.tell(trial, result)

    def _leave(self, trial: PlannedTrial, trials: list[PlannedTrial]) -> None:
        trials.append(trial)
        if self._source is not None:
            self._source.leave(trial)

    def _is_unlisted(self, trial: PlannedTrial) -> bool:
        return self._command is not None and not trial.paths.membership(self._command.sweep).exists()

    def _look_elsewhere(self) -> None:
        if not self._elsewhere or time.monotonic() - self._looked < _LOOK_AGAIN_S:
            return
        self._looked = time.monotonic()
        for signature, trial in list(self._elsewhere.items()):
            if self._is_unlisted(trial):
                self._leave(self._elsewhere.pop(signature), self.dropped)
                continue
            if is_claimed(trial.paths.claim):
                continue
            # Read after the claim was seen to be free: its runner writes the record before it lets go.
            result = self._result_on_disk(trial)
            del self._elsewhere[signature]
            if result is not None:
                self._end(trial, result)
            else:
                self._ready.append(trial)

    def _result_on_disk(self, trial: PlannedTrial) -> Result | None:
        try:
            record = Record.read(trial.paths.record)
        except StoreError:  # damaged since the plan was made
            return "failed"
        if record is None:
            return None
        if record.status in ("completed", "stopped"):
            return record.status
        if record.status == "failed" and record.ended is not None and record.ended >= self._started:
            return "failed"
        return None
