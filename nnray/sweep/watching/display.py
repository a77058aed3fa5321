"""What a person sees of a running sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from nnray.counting import counted
from nnray.errors import StoreError
from nnray.store.metrics_log import best_value, default_mode, read_rows
from nnray.store.progress import SweepProgress, TrialProgress, sweep_left_s
from nnray.store.record import Status
from nnray.store.table_block import BEST, CONFIG
from nnray.sweep.planning.plan import Plan, PlannedTrial
from nnray.sweep.queue import Result
from nnray.sweep.watching.progress_table import ProgressTable, clock, default_columns, headline

_LINES_EVERY_S = 5.0
_REFRESHES_PER_S = 2.0
_ROWS = 20
_KEYS_FROM = 1000
"""Trials whose keys may be chosen as columns: of very many, the first ones tell."""
_DONE: dict[str, Status] = {"complete": "completed", "stopped": "stopped", "failed": "failed", "damaged": "failed"}


@dataclass
class _Running:
    """A trial that was handed to a worker, as far as its worker has told."""

    trial: PlannedTrial
    since: float
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    told: float | None = None
    first: tuple[int, float] | None = None

    @property
    def rate(self) -> float | None:
        """Epochs per second, from the first to the last one told of."""
        if self.first is None or self.told is None or self.told <= self.first[1]:
            return None
        return (self.epoch - self.first[0]) / (self.told - self.first[1])


class Display:
    """Shows how far a sweep is; an observer to be used in a ``with`` statement.

    What an event costs does not grow with the number of trials.

    Args:
        plan: What is being done.
        console: Where to show it; a live table if it is a terminal, else a line every few seconds.
        columns: The table's columns, see :class:`~nnray.sweep.watching.progress_table.ProgressTable`; None for
            the usual ones.
    """

    def __init__(self, plan: Plan, console: Console, columns: Sequence[str] | None = None) -> None:
        metric = plan.sweep.metric
        self._plan = plan
        self._console = console
        self._columns = tuple(columns or default_columns(metric))
        self._mode = plan.sweep.mode or default_mode(metric or "")
        self._here: dict[str, _Running] = {}
        self._finished: list[TrialProgress] = []
        self._failed: list[TrialProgress] = []
        todo = plan.todo
        waiting = {trial.signature for trial in todo}
        self._counts: Counter[Status] = Counter(
            "pending" if trial.signature in waiting else _DONE.get(trial.state, "pending") for trial in plan.trials
        )
        to_ask = plan.total - len(plan.trials)
        self._counts["pending"] += to_ask
        self._pending_epochs = sum(map(_epochs, todo)) + (to_ask * plan.search.epochs if plan.search else 0)
        self._ended_s, self._ended_epochs = 0.0, 0
        self._elsewhere = 0
        self._began = self._printed = time.monotonic()
        self._live = (
            Live(console=console, get_renderable=self._picture, refresh_per_second=_REFRESHES_PER_S, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._finished = self._finished_before()
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, trial: PlannedTrial) -> None:
        """Show the trial among the running ones."""
        if trial.signature not in self._here:  # else its worker died, and another one goes on
            self._count("pending", "running")
            self._pending_epochs -= _epochs(trial)
        now = time.monotonic()
        self._here[trial.signature] = _Running(trial, now, first=(0, now) if trial.state == "run" else None)
        self._elsewhere = 0

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """Show the trial's last epoch."""
        running = self._here.get(trial.signature)
        if running is not None:
            running.epoch, running.metrics, running.told = epoch + 1, metrics, time.monotonic()
            running.first = running.first or (running.epoch, running.told)
        self._line_now_and_then()

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """Count the trial; a failure is told at once."""
        running = self._here.pop(trial.signature, None)
        if running is None:
            self._pending_epochs -= _epochs(trial)
            self._count("pending", result)
        else:
            self._ended_s += time.monotonic() - running.since
            self._ended_epochs += _epochs(trial)
            self._count("running", result)
        if result == "failed":
            self._failed = [
                self._trial(trial, "failed", running.epoch if running else None),
                *self._failed[: _ROWS - 1],
            ]
            self._say(f"failed: {trial.membership.name} ({trial.signature}); see {trial.paths.log}")
        else:
            self._note_finished(trial, result, running)
        self._line_now_and_then()

    def left(self, trial: PlannedTrial, why: str) -> None:
        """Show the trial no longer among the running ones."""
        if self._here.pop(trial.signature, None) is not None:
            self._count("running", "pending")
        self._say(f"{why}: {trial.membership.name} ({trial.signature})")

    def waiting(self, elsewhere: int) -> None:
        """Show that another command holds what is left."""
        if elsewhere and not self._elsewhere:
            self._say(f"waiting for {counted(elsewhere, 'trials')} that another command is training")
        self._elsewhere = elsewhere

    def progress(self) -> SweepProgress:
        """Return how far the sweep is."""
        running = [
            self._trial(entry.trial, "running", entry.epoch, entry.rate, values=dict(entry.metrics))
            for entry in self._here.values()
        ]
        left = sweep_left_s(running, self._pending_epochs, self._ended_s, self._ended_epochs, len(running))
        return SweepProgress(
            self._plan.sweep.name,
            self._plan.sweep.metric,
            Counter(self._counts),
            running=tuple(running[:_ROWS]),
            finished=tuple(self._finished),
            failed=tuple(self._failed),
            left_s=left,
        )

    def _count(self, before: Status, after: Status) -> None:
        self._counts[before] -= 1
        self._counts[after] += 1

    def _trial(
        self,
        trial: PlannedTrial,
        status: Status,
        epoch: int | None,
        rate: float | None = None,
        duration_s: float | None = None,
        values: dict[str, Any] | None = None,
    ) -> TrialProgress:
        values = values or {}
        config = [column for column in self._columns if column.startswith(CONFIG)]
        if config:
            flat = trial.configuration.flat()
            values |= {column: flat.get(column.removeprefix(CONFIG)) for column in config}
        name = trial.membership.name
        return TrialProgress(trial.signature, name, status, epoch, _epochs(trial), rate, duration_s, values=values)

    def _note_finished(self, trial: PlannedTrial, result: Result, running: _Running | None) -> None:
        """Keep the trial if it is one of the best."""
        rows = read_rows(trial.paths.metrics)
        values: dict[str, Any] = {}
        for name in {name for name in (self._plan.sweep.metric, *self._columns) if name}:
            told = [row[name] for row in rows if isinstance(row.get(name), (int, float))]
            if told:
                mode = self._mode if name == self._plan.sweep.metric else default_mode(name)
                values |= {name: told[-1], BEST + name: best_value(told, mode)}
        duration_s = time.monotonic() - running.since if running else None
        epoch = rows[-1]["epoch"] + 1 if rows else None
        self._finished = self._best([*self._finished, self._trial(trial, result, epoch, None, duration_s, values)])

    def _best(self, trials: Iterable[TrialProgress]) -> list[TrialProgress]:
        """Return the best trials, the best one first; the last ones where no metric says which."""
        metric = self._plan.sweep.metric
        if metric is None:
            return list(trials)[-_ROWS:]
        sign = -1.0 if self._mode == "max" else 1.0

        def rank(trial: TrialProgress) -> float:
            value = trial.values.get(BEST + metric)
            return float("inf") if value is None else sign * value

        return sorted(trials, key=rank)[:_ROWS]

    def _finished_before(self) -> list[TrialProgress]:
        """Return the best of the trials that were finished before this command began."""
        from nnray.store.sweep_reader import SweepReader

        try:
            reader = SweepReader(self._plan.store, self._plan.sweep.name)
            reader.choose(column for column in self._columns if column in reader.names)
            found = reader.read(_ROWS).finished
        except (StoreError, OSError):  # there are no tables yet
            return []
        done = {trial.signature for trial in self._plan.trials if trial.state in ("complete", "stopped")}
        return [trial for trial in found if trial.signature in done - self._plan.retrain]

    def _say(self, line: str) -> None:
        console = self._live.console if self._live is not None else self._console
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line_now_and_then(self) -> None:
        if self._live is None and time.monotonic() - self._printed >= _LINES_EVERY_S:
            self._printed = time.monotonic()
            self._say(headline(self.progress()))

    def _picture(self) -> Any:
        progress = self.progress()
        bar = Table.grid(padding=(0, 1))
        done = progress.done + progress.counts["failed"]
        bar.add_row(ProgressBar(progress.total, done, width=30), f"{clock(time.monotonic() - self._began)} so far")
        return Group(ProgressTable(progress, self._columns), bar)


def plan_columns(plan: Plan) -> list[str]:
    """Return the columns of the table of trials that are known before anything runs."""
    metric = plan.sweep.metric
    keys = {key: None for trial in plan.trials[:_KEYS_FROM] for key in trial.configuration.flat()}
    return [*(CONFIG + key for key in keys), *((metric, BEST + metric) if metric else ())]


def _epochs(trial: PlannedTrial) -> int:
    return trial.configuration.values["trainer"]["max_epochs"]
