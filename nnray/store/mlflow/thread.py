"""MLflow in the background: a server that is slow or gone keeps nobody waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable

from nnray.store.mlflow.sender import Sender
from nnray.trial.paths import StorePaths

_logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Least time between two rounds, so that trials gather into batches."""
RETRY_S, MAX_RETRY_S = 2.0, 60.0
"""Time to wait after a failure: the first, doubled with each failure that follows, up to the second."""

_POLL_S = 0.1


class MirrorThread:
    """Has the trials handed to it mirrored, and those that other commands left, in batches and in a thread of its own.

    Args:
        store: The store.
        sweep: The command's sweep.
        uri: An MLflow tracking URI; by default the store's own SQLite database.
    """

    def __init__(self, store: StorePaths, sweep: str, uri: str | None = None) -> None:
        self._sweep = sweep
        self._sender = Sender(store, uri)
        self._unsaved: set[str] = set()
        self._keep: Collection[str] | None = None
        self._changed = threading.Condition()
        self._closing = self._abandoned = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="nnray-mlflow", daemon=True)
        self._thread.start()

    def submit(self, signatures: Iterable[str]) -> None:
        """Have trials mirrored as their folders are by then; never raises and never waits for MLflow.

        They are in the queue on disk when this returns, or, where that cannot be written now, as soon as it can be.
        """
        with self._changed:
            if not self._sender.place.is_off:
                self._unsaved.update(signatures)
                self._save()

    def finish(self, patience_s: float, keep: Collection[str] | None = None) -> dict[str, str]:
        """Send what still waits, and end; return the trials of the sweep that MLflow misses, with the reason.

        Gives up after ``patience_s`` seconds, or at once when MLflow fails. What is missing then stays in the queue.

        Args:
            patience_s: How long to wait.
            keep: The signatures of all trials of the sweep: when MLflow has them, the runs of others are taken off its
                list, in the store's own database. None if they are not known.
        """
        with self._changed:
            self._keep = keep
            self._closing = True
            self._changed.notify()
        self._thread.join(patience_s)
        self._abandoned = self._thread.is_alive()
        late = f"{self._sender.place.shown} took longer than {patience_s:g} s" if self._abandoned else None
        missed = self._sender.missed(self._sweep, late)
        with self._changed:
            return missed | {name: missed.get(name) or "the queue cannot be written" for name in self._unsaved}

    def _run(self) -> None:
        while True:
            with self._changed:
                closing = self._closing  # read before the round: it then sends all that was handed over before
                self._save()
            self._failures = 0 if self._sender.send(self._sweep) or self._sender.is_elsewhere else self._failures + 1
            if self._abandoned or (closing and not self._is_awaited()):
                break
            self._warn()
            with self._changed:
                self._changed.wait_for(lambda: self._closing, self._pause_s())
            if closing:
                threading.Event().wait(_POLL_S)
        if self._keep is not None and not self._abandoned and not self._sender.missed(self._sweep):
            self._sender.retire(self._sweep, self._keep)
        self._sender.close()

    def _is_awaited(self) -> bool:
        """Whether another process is about to send what this one has put into the queue."""
        return self._sender.is_elsewhere and bool(self._sender.queue.waiting(self._sweep))

    def _pause_s(self) -> float:
        return min(RETRY_S * 2 ** (self._failures - 1), MAX_RETRY_S) if self._failures else INTERVAL_S

    def _save(self) -> None:
        """Put what is in memory alone into the queue; where that fails, it is tried again with the next round."""
        try:
            self._sender.queue.put(self._sweep, sorted(self._unsaved))
        except OSError:
            return
        self._unsaved.clear()

    def _warn(self) -> None:
        """Tell once an outage; what is missing in the end is in the report."""
        if self._failures == 1 and (missed := self._sender.missed(self._sweep)):
            _logger.warning(
                "nnray: MLflow misses %d trials for now, training goes on and they are sent when it is back: %s",
                *(len(missed), next(iter(missed.values()))),
            )
