"""Which trial comes next, when other commands may be training some of the same ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from nnray.store.claim import is_claimed
from nnray.store.record import Record
from nnray.sweep.plan import PlannedTrial

if TYPE_CHECKING:
    from nnray.training.runner import Outcome

Result = Literal["completed", "stopped", "failed"]

_LOOK_AGAIN_S = 0.5


class TrialQueue:
    """Hands out trials one by one and learns what became of them.

    A trial that another command is training is put aside and looked at again until its record says how it ended, or
    its claim is free because its runner died.

    Args:
        trials: What is to be trained, in order.
        started: When the command started; a trial that another command saw fail since then has failed here too.
    """

    def __init__(self, trials: Iterable[PlannedTrial], started: datetime) -> None:
        self._ready = deque(trials)
        self._elsewhere: dict[str, PlannedTrial] = {}
        self._here: dict[str, PlannedTrial] = {}
        self._started = started
        self._looked = 0.0
        self.results: dict[str, Result] = {}

    @property
    def exhausted(self) -> bool:
        """Whether every trial has a result."""
        return not (self._ready or self._elsewhere or self._here)

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

    def take(self) -> PlannedTrial | None:
        """Return a trial to train now, or None if there is none at the moment."""
        self._look_elsewhere()
        while self._ready:
            trial = self._ready.popleft()
            result = self._result_on_disk(trial)
            if result is not None:
                self.results[trial.signature] = result
            elif is_claimed(trial.paths.claim):
                self._elsewhere[trial.signature] = trial
            else:
                self._here[trial.signature] = trial
                return trial
        return None

    def settle(self, signature: str, outcome: Outcome) -> None:
        """Note what became of a trial that :meth:`take` handed out; one that was interrupted has no result."""
        trial = self._here.pop(signature)
        if outcome == "claimed":
            self._elsewhere[signature] = trial
        elif outcome != "interrupted":
            self.results[signature] = outcome

    def _look_elsewhere(self) -> None:
        if not self._elsewhere or time.monotonic() - self._looked < _LOOK_AGAIN_S:
            return
        self._looked = time.monotonic()
        for signature, trial in list(self._elsewhere.items()):
            if is_claimed(trial.paths.claim):
                continue
            # Read after the claim was seen to be free: its runner writes the record before it lets go.
            result = self._result_on_disk(trial)
            del self._elsewhere[signature]
            if result is not None:
                self.results[signature] = result
            else:
                self._ready.append(trial)

    def _result_on_disk(self, trial: PlannedTrial) -> Result | None:
        record = Record.read(trial.paths.record)
        if record is None:
            return None
        if record.status in ("completed", "stopped"):
            return record.status
        if record.status == "failed" and record.ended is not None and record.ended >= self._started:
            return "failed"
        return None
