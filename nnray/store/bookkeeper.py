"""The one writer of a sweep's tables and MLflow runs in a command: told which folders changed, it keeps the views up.

Several commands may work on one sweep, each with a bookkeeper. Tables are read from the folders and written under a
lock, so that whoever writes last has seen at least what the others saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from nnray.store.mlflow.sender import Sender
from nnray.store.mlflow.thread import MirrorThread
from nnray.store.table_keeper import TableKeeper
from nnray.trial.paths import StorePaths, check_sweep_name

INTERVAL_S = 1.0
"""Least time from one writing of the tables to the next."""
SHARE = 0.1
"""Largest part of the time of a processor that is spent on writing tables."""
_POLL_S = 0.2


@dataclass(frozen=True)
class BooksReport:
    """What the books of a sweep hold when they are closed.

    Attributes:
        trials: How many trials the sweep lists and the tables hold.
        missed: Trials that MLflow misses so far, with the reason; the next command on the sweep makes up for them.
        damaged: Trials whose folders cannot be read and that are in no table, with the reason.
        problem: Why the tables could not be written, None if they were.
    """

    trials: int
    missed: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def mirrored(self) -> int:
        """How many trials MLflow holds as they are."""
        return self.trials - len(self.missed)

    def json(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps(asdict(self))


class Pace:
    """Says when the tables may be written again: not at once, and in a small part of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait_s(self) -> float:
        """Return the seconds until then."""
        return max(0.0, self._next - time.monotonic())

    def worked(self, seconds: float) -> None:
        """Take note that writing took so many seconds of a processor."""
        self._next = time.monotonic() + max(INTERVAL_S, seconds / SHARE)


class Bookkeeper:
    """Keeps the tables and the MLflow runs of ``sweep`` at what the trial folders say.

    Nothing that goes wrong with tables or MLflow raises here: it is logged once and told by the report.

    Args:
        store: The store.
        sweep: The sweep's name.
        mlflow_uri: An MLflow tracking URI; by default the store's own SQLite database.
    """

    def __init__(self, store: StorePaths, sweep: str, mlflow_uri: str | None = None) -> None:
        self._pace = Pace()
        self._report: BooksReport | None = None
        self._thread = MirrorThread(store, check_sweep_name(sweep), mlflow_uri)
        self._tables = TableKeeper(store, sweep, self._thread.submit)

    def note(self, signature: str) -> None:
        """Take note that the folder of the trial ``signature`` changed; it need not be one that was there before."""
        self._tables.note(signature)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the tables hold everything that was noted."""
        return self._tables.is_up_to_date

    def flush(self) -> float:
        """Bring the tables up to what was noted, unless that was done just now; hand the same to MLflow.

        Returns:
            Seconds until the next call can do something.
        """
        if wait := self._pace.wait_s():
            return wait
        first, started = not self._tables.are_written, time.thread_time()
        if not self.is_up_to_date:
            self._tables.update()
        # The first time is no measure: it loads the libraries and reads every folder.
        self._pace.worked(0.0 if first else time.thread_time() - started)
        return self._pace.wait_s()

    def close(self, runners_end_in_s: float = 0.0, patience_s: float = 60.0) -> BooksReport:
        """Bring everything up to the folders of all trials that the sweep lists, and end.

        Args:
            runners_end_in_s: How long to wait for trials that are still running to end first.
            patience_s: How long to wait for MLflow.
        """
        if self._report is None:
            deadline = time.monotonic() + runners_end_in_s
            self._tables.update(everything=True)
            while self._tables.running() and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                self._tables.update(everything=True)
            self._tables.save()
            trials = self._tables.trials()
            listed = {entry.signature for entry in trials} | self._tables.damaged.keys()
            missed = self._thread.finish(patience_s, listed if self._tables.problem is None else None)
            self._report = BooksReport(len(trials), missed, dict(self._tables.damaged), self._tables.problem)
        return self._report


def rebuild(
    store: StorePaths,
    sweep: str,
    mlflow_uri: str | None = None,
    on_read: Callable[[], None] = lambda: None,
    on_mirrored: Callable[[], None] = lambda: None,
) -> BooksReport:
    """Write the tables of ``sweep`` and bring MLflow up to them, from the folders alone and however long it takes.

    Args:
        store: The store.
        sweep: The sweep's name.
        mlflow_uri: An MLflow tracking URI; by default the store's own SQLite database.
        on_read: Called for each trial whose folder was read.
        on_mirrored: Called for each trial that MLflow then has.
    """
    tables = TableKeeper(store, sweep)
    tables.rebuild(on_read)
    trials = tables.trials()
    sender = Sender(store, mlflow_uri)
    missed = sender.send_all(sweep, [listed.signature for listed in trials], lambda _: on_mirrored())
    if not missed and tables.problem is None:  # else the trials may be unknown
        sender.retire(sweep, {listed.signature for listed in trials} | tables.damaged.keys())
    sender.close()
    return BooksReport(len(trials), missed, dict(tables.damaged), tables.problem)
