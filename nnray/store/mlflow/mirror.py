"""MLflow as a mirror of a sweep: an experiment per sweep, a run per trial, brought up to what the folders say.

Mirroring is idempotent: a run carries a digest of what was written to it, runs whose digest is that of the trial are
left alone, and in the others only what is missing is added. So nothing doubles when a trial is mirrored again, resumed,
or was mirrored half when the process died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from nnray.errors import StoreError
from nnray.redaction import MASK, masked_text
from nnray.store.claim import exclusive
from nnray.store.listing import ListedTrial
from nnray.store.mlflow.database import MlflowDatabase, UnknownSchemaError
from nnray.store.mlflow.run import RunContent
from nnray.store.mlflow.server import MlflowServer
from nnray.trial.paths import StorePaths

LOCK = "mlflow.lock"
"""The file whose lock is held by the one process of a store that writes to MLflow."""

_MAX_REASON = 200


class RunWriter(Protocol):
    """Where runs are written to."""

    def write(self, sweep: str, runs: Sequence[RunContent], done: Callable[[str], None]) -> dict[str, str]:
        """Bring the runs of ``sweep`` to what ``runs`` say; return the trials that were refused, with the reason."""

    def retire(self, sweep: str, keep: Collection[str]) -> None:
        """Take the runs of trials that are not in ``keep`` off the list, where this can harm nobody else."""


class MlflowMirror:
    """Keeps one sweep's runs in MLflow.

    Args:
        store: The store.
        sweep: The sweep's name.
        uri: An MLflow tracking URI; by default the store's own SQLite database, which is made when it is first needed.
    """

    def __init__(self, store: StorePaths, sweep: str, uri: str | None = None) -> None:
        self._store = store
        self._sweep = sweep
        self._own = f"sqlite:///{store.mlflow_database}"
        self._uri = uri or self._own
        self._writer: RunWriter | None = None

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return self._uri

    @property
    def place(self) -> str:
        """The tracking URI as it may be shown: without a password."""
        return masked_text(self._uri).replace(f"{MASK}@", "")

    def sync(self, trials: Sequence[ListedTrial], done: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        """Bring MLflow up to ``trials``; never raises.

        Args:
            trials: Trials of the sweep, some or all; without any, only the database is made ready.
            done: Called with the signature of each trial that MLflow now has.

        Returns:
            The trials that MLflow misses, with the reason in one line; to be tried again later.
        """
        missed: dict[str, str] = {}
        left = {listed.signature: listed for listed in trials}

        def finished(signature: str) -> None:
            left.pop(signature, None)
            done(signature)

        try:
            # Many trials share a transaction of the database; a slow server must not keep others waiting for long.
            size = 100 if self._uri == self._own else 10
            for start in range(0, max(1, len(trials)), size):
                with exclusive(self._store.root / LOCK):
                    runs = [RunContent.of(listed) for listed in trials[start : start + size]]
                    missed |= self._connected().write(self._sweep, runs, finished)
        except Exception as error:  # whatever a server, its client or a database can come up with
            self._writer = None  # what it remembers of the runs may be wrong now
            missed |= dict.fromkeys(left, self._reason(error))
        return missed

    def retire(self, keep: Collection[str]) -> str | None:
        """Take the runs of trials that the sweep no longer lists off MLflow's list; return what went wrong, if so.

        This is done in the store's own database alone; on a server nothing is ever deleted.
        """
        try:
            with exclusive(self._store.root / LOCK):
                self._connected().retire(self._sweep, keep)
        except Exception as error:
            return one_line(error)
        return None

    def _reason(self, error: Exception) -> str:
        """Return why MLflow is missing trials; for a server that cannot be reached, without its client's layers."""
        root: BaseException = error
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        if self._uri == self._own or not isinstance(root, OSError):
            return one_line(error)
        return f"{self.place} cannot be reached: {root.strerror or one_line(root)}"

    def _connected(self) -> RunWriter:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _connect(self) -> RunWriter:
        if self._uri != self._own:
            return MlflowServer(self._uri)
        try:
            return MlflowDatabase(self._store)
        except UnknownSchemaError:
            return MlflowServer(self._uri)


def one_line(error: BaseException) -> str:
    """Return what went wrong as a line for people."""
    text = masked_text(" ".join(str(error).split()))
    if isinstance(error, StoreError) and text:
        return text
    text = text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 1]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
