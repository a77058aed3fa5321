"""The one process of a store that writes to an MLflow, for all commands and all sweeps.

Whoever holds the lock of the place is its sender, for as long as its command lives; all others only add to the queue,
and one of them becomes the sender when the first one has gone. So what a sender remembers of the runs is right, and
a server is asked by one client at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from nnray.errors import StoreError
from nnray.store.claim import Claim, claim_facts
from nnray.store.files import remove_leftovers
from nnray.store.membership import members
from nnray.store.mlflow.mirror import MlflowMirror, UndeliverableError
from nnray.store.mlflow.place import Place
from nnray.store.mlflow.queue import MirrorQueue, QueuedTrials
from nnray.store.reading import SweepTrial, read_sweep_trial
from nnray.trial.paths import StorePaths

_ABANDONED_S = 60.0
_POLL_S = 0.1
_OWN_BATCH, _SERVER_BATCH = 100, 20
"""Trials after which the queue is brought up to date; in a SQLite database they share a transaction."""


class Sender:
    """Sends what waits in the queue of one place.

    Args:
        store: The store.
        uri: An MLflow tracking URI; by default the store's own SQLite database.

    Attributes:
        queue: The queue.
        trouble: Why the latest attempt delivered nothing, None if it did.
        is_elsewhere: Whether another process was the sender at the latest attempt.
    """

    def __init__(self, store: StorePaths, uri: str | None) -> None:
        self._store = store
        self.place = Place.of(store, uri)
        self.queue = MirrorQueue(store, self.place.folder_name)
        self.trouble: str | None = None
        self.is_elsewhere = False
        self._refused: dict[tuple[str, str], str] = {}
        self._claim: Claim | None = None
        self._mirrors: dict[str, MlflowMirror] = {}

    def send(self, first: str, done: Callable[[str], None] = lambda _: None) -> bool:
        """Send what waits now, the sweep ``first`` before all others; never raises.

        Args:
            first: The sweep of the command.
            done: Called with the signature of each of its trials that MLflow now has.

        Returns:
            Whether everything was taken. Where another process is the sender, nothing is done, and ``trouble`` says so.
        """
        if self.place.is_off:
            return True
        try:
            if not self._is_sender():
                return False
            self.trouble = None
            # Not only sweeps in which something waits: a database may have been put in the place of another.
            others = [sweep for sweep in self.queue.sweeps() if sweep != first]
            whole = self._send_sweep(first, done)
            for sweep in others:
                whole &= self._send_sweep(sweep)
            return whole
        except UndeliverableError as error:
            self._mirrors.clear()
            self.trouble = str(error)
        except (OSError, StoreError) as error:  # a full disk, or none that can be written to
            self.trouble = self.place.reason(error)
        return False

    def send_all(
        self,
        sweep: str,
        signatures: Collection[str],
        done: Callable[[str], None] = lambda _: None,
        patience_s: float = 60.0,
    ) -> dict[str, str]:
        """Send trials of ``sweep`` and all that waits, however long it takes; return what is missing, with the reason.

        Where another process is the sender, wait for it, unless nothing happens for ``patience_s`` seconds.
        """
        if self.place.is_off:
            return {}
        try:
            self.queue.put(sweep, signatures)
        except OSError as error:
            return dict.fromkeys(signatures, self.place.reason(error))
        waiting, deadline = -1, 0.0
        while not self.send(sweep, done) and self.is_elsewhere:
            left = len(self.queue.waiting(sweep))
            if left != waiting:
                waiting, deadline = left, time.monotonic() + patience_s
            if not left or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return self.missed(sweep)

    def missed(self, sweep: str, reason: str | None = None) -> dict[str, str]:
        """Return the trials of ``sweep`` that MLflow misses, with why: by themselves, for all, or else ``reason``.

        What waits for none of these was put there by another process since, which will send it.
        """
        reason = self.trouble or reason
        try:
            waiting = self.queue.waiting(sweep)
        except ConnectionError:  # the store itself is away, as its tables tell; what waits stays
            return {}
        reasons = {name: self._refused.get((sweep, name), reason) for name in sorted(waiting)}
        return {name: why for name, why in reasons.items() if why is not None}

    def retire(self, sweep: str, keep: Collection[str]) -> None:
        """Take the runs of trials that are not in ``keep`` off the list of the store's own database.

        A transaction does that, so it is no matter which process is the sender.
        """
        if self.place.is_own and not self.place.is_off and self._store.mlflow_database.exists():
            self._mirror(sweep).retire(keep)

    def close(self) -> None:
        """Let another process be the sender."""
        self._mirrors.clear()
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _is_sender(self) -> bool:
        if self._claim is None:
            path = self._store.mlflow_sender(self.place.folder_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._claim = Claim.acquire(path)
            self.is_elsewhere = self._claim is None
            if self._claim is None:
                self.trouble = f"{_owner(claim_facts(path))} is sending to {self.place.shown}"
                return False
            for sweep in self.queue.sweeps():
                remove_leftovers(path.parent / sweep, _ABANDONED_S)
        return True

    def _mirror(self, sweep: str) -> MlflowMirror:
        if sweep not in self._mirrors:

            def note_all() -> None:
                for other in self._mirrors.keys() - {sweep}:  # what it remembers may be of a database that is gone
                    del self._mirrors[other]
                self.queue.put(sweep, [folder.signature for folder in members(self._store, sweep)])

            self._mirrors[sweep] = MlflowMirror(self._store, sweep, self.place.uri, note_all)
        return self._mirrors[sweep]

    def _send_sweep(self, sweep: str, done: Callable[[str], None] = lambda _: None) -> bool:
        """Send what waits of one sweep; raise UndeliverableError when nothing gets through."""
        mirror = self._mirror(sweep)
        mirror.connect()
        whole = True
        for batch in self.queue.batches(sweep, _OWN_BATCH if self.place.is_own else _SERVER_BATCH):
            whole &= self._send_batch(mirror, batch, done)
        return whole

    def _send_batch(self, mirror: MlflowMirror, batch: QueuedTrials, done: Callable[[str], None]) -> bool:
        trials, left = self._read(batch)
        waiting = {listed.signature for listed in trials}

        def delivered(signature: str) -> None:
            waiting.discard(signature)
            self._refused.pop((batch.sweep, signature), None)
            done(signature)

        try:
            left |= mirror.deliver(trials, delivered)
        except UndeliverableError as error:
            left |= error.refused
            if error.refused:  # others must get their turn before these are tried again
                self.queue.settle(batch, waiting | left.keys())
            raise
        finally:
            self._refused |= {(batch.sweep, signature): reason for signature, reason in left.items()}
        self.queue.settle(batch, left)
        return not left

    def _read(self, batch: QueuedTrials) -> tuple[list[SweepTrial], dict[str, str]]:
        """Return what the folders say now, and the trials that could not be read for a reason that may pass.

        One that is damaged, or that the sweep no longer lists, is nothing to send: the tables tell of it.
        """
        trials, left = [], {}
        for signature in batch.signatures:
            try:
                listed = read_sweep_trial(self._store.trial(signature), batch.sweep)
            except StoreError:
                continue
            except OSError as error:
                left[signature] = self.place.reason(error)
                continue
            if listed is not None:
                trials.append(listed)
        return trials, left


def _owner(facts: Mapping[str, Any]) -> str:
    """Return who holds the lock, for people."""
    if not {"host", "pid"} <= facts.keys():
        return "another command"
    return f"another command (on {facts['host']}, process {facts['pid']})"
