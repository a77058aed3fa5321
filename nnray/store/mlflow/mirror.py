"""MLflow as a mirror of a sweep: an experiment per sweep, a run per trial, brought up to what the folders say.

Mirroring is idempotent: a run carries a digest of what was written to it, runs whose digest is that of the trial are
left alone, and in the others only what is missing is added. So nothing doubles when a trial is mirrored again, resumed,
or was mirrored half when the process died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from nnray.errors import StoreError
from nnray.store.mlflow.database import MlflowDatabase, UnknownSchemaError
from nnray.store.mlflow.place import Place
from nnray.store.mlflow.run import RunContent
from nnray.store.mlflow.server import MlflowServer
from nnray.store.reading import SweepTrial
from nnray.trial.paths import StorePaths

_RUNS_PER_TRANSACTION = 100


class RunWriter(Protocol):
    """Where runs are written to."""

    def has(self, sweep: str) -> bool:
        """Tell whether there ever was an experiment of ``sweep``."""

    def write(self, sweep: str, runs: Sequence[RunContent], done: Callable[[str], None]) -> dict[str, Exception]:
        """Bring the runs of ``sweep`` to what ``runs`` say; return the trials that were refused, with the reason."""

    def retire(self, sweep: str, keep: Collection[str]) -> None:
        """Take the runs of trials that are not in ``keep`` off the list, where this can harm nobody else."""


class UndeliverableError(StoreError):
    """MLflow takes nothing at present.

    Attributes:
        refused: The trials that it had refused before, with the reason.
    """

    def __init__(self, reason: str, refused: dict[str, str]) -> None:
        super().__init__(reason)
        self.refused = refused


class MlflowMirror:
    """Keeps one sweep's runs in MLflow. One process at a time may use one on the same place.

    Args:
        store: The store.
        sweep: The sweep's name.
        uri: An MLflow tracking URI; by default the store's own SQLite database, which is made when it is first needed.
        on_blank: Called when a place is met that has no experiment of the sweep, before one is made there.
    """

    def __init__(
        self, store: StorePaths, sweep: str, uri: str | None = None, on_blank: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._sweep = sweep
        self._on_blank = on_blank
        self.place = Place.of(store, uri)
        """Where the runs are."""
        self._writer: RunWriter | None = None

    @property
    def uri(self) -> str:
        """The tracking URI, with its password if it has one."""
        return self.place.uri

    @property
    def is_off(self) -> bool:
        """Whether nothing is mirrored."""
        return self.place.is_off

    def sync(self, trials: Sequence[SweepTrial], done: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        """Bring MLflow up to ``trials``; never raises.

        Args:
            trials: Trials of the sweep, some or all; without any, only the experiment is made ready.
            done: Called with the signature of each trial that MLflow now has.

        Returns:
            The trials that MLflow misses, with the reason in one line.
        """
        left = {listed.signature for listed in trials}

        def finished(signature: str) -> None:
            left.discard(signature)
            done(signature)

        try:
            return self.deliver(trials, finished)
        except UndeliverableError as error:
            return dict.fromkeys(left, str(error)) | error.refused

    def connect(self) -> None:
        """See that MLflow is there, and whether it knows the sweep; raise UndeliverableError if it is not."""
        try:
            self._connected()
        except Exception as error:  # whatever a server, its client or a database can come up with
            raise UndeliverableError(self.place.reason(error), {}) from error

    def deliver(self, trials: Sequence[SweepTrial], done: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        """Bring MLflow up to ``trials``; return those that it refused though it takes others, with the reason.

        Raises:
            UndeliverableError: If it takes nothing at all; trials for which ``done`` was called got through before.
        """
        refused: dict[str, str] = {}
        runs = []
        for listed in trials:
            try:
                runs.append(RunContent.of(listed))
            except Exception as error:  # one odd trial must not keep the others back
                refused[listed.signature] = self.place.reason(error)
        try:
            for start in range(0, max(1, len(runs)), _RUNS_PER_TRANSACTION):
                failed = self._connected().write(self._sweep, runs[start : start + _RUNS_PER_TRANSACTION], done)
                refused |= {signature: self.place.reason(error) for signature, error in failed.items()}
        except Exception as error:
            self._writer = None  # what it remembers of the runs may be wrong now
            raise UndeliverableError(self.place.reason(error), refused) from error
        return refused

    def retire(self, keep: Collection[str]) -> None:
        """Take the runs of trials that the sweep no longer lists off MLflow's list; failing is no harm.

        This is done in the store's own database alone; on a server nothing is ever deleted.
        """
        try:
            self._connected().retire(self._sweep, keep)
        except Exception:  # the runs stay listed until a later command
            self._writer = None

    def _connected(self) -> RunWriter:
        if self._writer is None:
            writer = self._connect()
            if not writer.has(self._sweep):
                self._on_blank()
            self._writer = writer
        return self._writer

    def _connect(self) -> RunWriter:
        if not self.place.is_own:
            return MlflowServer(self.uri)
        try:
            return MlflowDatabase(self._store)
        except UnknownSchemaError:
            return MlflowServer(self.uri)
