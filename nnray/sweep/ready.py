"""Trials that could start, in order, with those that ask for equal resources behind one another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from nnray.space.resources import Resources
from nnray.sweep.planning.plan import PlannedTrial


class ReadyTrials:
    """A queue for each kind of resources; the kind whose first trial came first is served first.

    Ray keeps a worker alive for a next trial that asks for the same, and starts another process, which takes seconds,
    for one that asks for something else. So kinds take turns only where one of them doesn't fit.

    Args:
        trials: In the order in which they are wanted.
    """

    def __init__(self, trials: Iterable[PlannedTrial] = ()) -> None:
        self._kinds: dict[Resources, deque[PlannedTrial]] = {}
        for trial in trials:
            self.append(trial)

    def __bool__(self) -> bool:
        return any(self._kinds.values())

    def counts(self) -> dict[Resources, int]:
        """Return how many there are of each kind; may be called while another thread takes some."""
        return {resources: len(trials) for resources, trials in list(self._kinds.items())}

    def append(self, trial: PlannedTrial) -> None:
        """Put a trial behind all others that ask for the same."""
        self._kinds.setdefault(trial.resources, deque()).append(trial)

    def pop(self, fits: Callable[[Resources], bool]) -> PlannedTrial | None:
        """Take the first trial whose resources fit, or None if there is none."""
        for resources, trials in self._kinds.items():
            if trials and fits(resources):
                return trials.popleft()
        return None
