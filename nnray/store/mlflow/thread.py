"""MLflow in the background: a server that is slow or gone keeps nobody waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from functools import partial

from nnray.store.listing import ListedTrial
from nnray.store.mlflow.mirror import MlflowMirror

_logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Least time between two rounds, so that trials gather into batches."""
RETRY_S = 30.0
"""Time to wait after a failure."""


class MirrorThread:
    """Mirrors the latest state of the trials handed to it, in batches and in a thread of its own."""

    def __init__(self, mirror: MlflowMirror) -> None:
        self._mirror = mirror
        self._pending: dict[str, ListedTrial] = {}
        self._missed: dict[str, str] | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="nnray-mlflow", daemon=True)
        self._thread.start()

    def submit(self, trials: Iterable[ListedTrial]) -> None:
        """Have ``trials`` mirrored soon; returns at once."""
        with self._changed:
            self._pending.update({listed.signature: listed for listed in trials})
            self._changed.notify()

    def finish(self, trials: Sequence[ListedTrial], patience_s: float) -> dict[str, str]:
        """Have ``trials``, all of the sweep, mirrored and end; return those that MLflow misses, with the reason.

        Gives up after ``patience_s`` seconds, or at once when MLflow fails.
        """
        with self._changed:
            self._closing = True
            self._pending = {listed.signature: listed for listed in trials}
            self._changed.notify()
        self._thread.join(patience_s)
        with self._changed:
            if self._missed is None:
                return dict.fromkeys(self._pending, f"{self._mirror.place} took longer than {patience_s:g} s")
            return self._missed

    def _run(self) -> None:
        self._mirror.sync([])  # makes the database while the first trials are being trained
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                last_round = self._closing
                batch = dict(self._pending)
            missed = self._mirror.sync(list(batch.values()), partial(self._settle, batch))
            with self._changed:
                if last_round:
                    self._missed = missed
                    return
            self._warn(missed)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, RETRY_S if missed else INTERVAL_S)

    def _settle(self, batch: dict[str, ListedTrial], signature: str) -> None:
        with self._changed:
            if self._pending.get(signature) is batch[signature]:  # else it has changed since
                del self._pending[signature]

    def _warn(self, missed: dict[str, str]) -> None:
        """Tell once; the rest is in the report."""
        if missed and not self._warned:
            self._warned = True
            reason = next(iter(missed.values()))
            _logger.warning("nnray: MLflow misses %d trials for now, training goes on: %s", len(missed), reason)
