"""Trials that failed since the store's disk was full wait until there is room, and are tried again then.

Meanwhile no other trial begins: it would fail for the same reason.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from uuid import uuid4

from nnray.store.attempts import note_attempt
from nnray.store.files import is_object
from nnray.store.space.removal import size_of
from nnray.store.weights import kept_epochs
from nnray.sweep.observer import Observer
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import TrialQueue

PATIENCE_S = 600.0
"""After so long without room the trials have failed; the next command tries them again."""
_LOOK_EVERY_S = 2.0
_LEAST = 1_000_000
"""Bytes of which a trial needs more in any case: tables and logs grow, too."""


class RoomInStore:
    """Holds trials back while there is no room.

    Args:
        queue: Where trials come from, and go back to.
        observer: Is told of those that have failed in the end.
        patience_s: How long to wait for room.
    """

    def __init__(self, queue: TrialQueue, observer: Observer, patience_s: float = PATIENCE_S) -> None:
        self._queue, self._observer, self._patience_s = queue, observer, patience_s
        self._waiting: list[PlannedTrial] = []
        self._since = 0.0
        self._look_at = 0.0
        self._gave_up = False

    def wait(self, trial: PlannedTrial) -> bool:
        """Let a trial that was handed out wait; return False if that is no use any more."""
        if self._gave_up:
            return False
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(trial)
        return True

    @property
    def is_full(self) -> bool:
        """Whether trials are to be held back; those that wait go back to the queue when they are not."""
        if not self._waiting or time.monotonic() < self._look_at:
            return bool(self._waiting)
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        if has_room(self._waiting[0]):
            self._release()
        elif time.monotonic() - self._since > self._patience_s:
            self._give_up()
        return bool(self._waiting)

    def _release(self) -> None:
        with contextlib.suppress(OSError):  # it is full once more
            while self._waiting:
                note_attempt(self._waiting[-1].paths, "disk-full")
                self._queue.try_again(self._waiting.pop())

    def _give_up(self) -> None:
        self._gave_up = True
        for trial in self._waiting:
            self._queue.settle(trial.signature, "failed")
            self._observer.ended(trial, "failed")
        self._waiting.clear()


def has_room(trial: PlannedTrial) -> bool:
    """Tell whether so much can be written to the store as the trial writes at a time, and some more.

    It is tried, since quotas are told by nothing else.
    """
    paths = trial.paths
    if is_object(paths.folder):
        return True
    largest = max([size_of(path) for path in kept_epochs(paths).values()], default=0)
    return _can_write(
        paths.store.trials / f".room.{uuid4().hex[:8]}.part", _LEAST + 2 * (largest + size_of(paths.resume))
    )


def _can_write(probe: Path, size: int) -> bool:
    try:
        with probe.open("wb", buffering=0) as file:
            while size > 0:
                size -= file.write(bytes(min(size, _LEAST)))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return True
