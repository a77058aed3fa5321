"""What a person sees of a running sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from nnray.store.metrics_log import best_value
from nnray.sweep.plan import Plan, PlannedTrial
from nnray.sweep.queue import Result

_LINES_EVERY_S = 5.0
_ROWS = 16


class Display:
    """Shows how far a sweep is; an observer to be used in a ``with`` statement.

    Args:
        plan: What is being done.
        console: Where to show it; a live table if it is a terminal, else a line every few seconds.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._total = len(plan.todo)
        self._epochs: dict[str, tuple[PlannedTrial, int, dict[str, float]]] = {}
        self._results: Counter[str] = Counter()
        self._best: tuple[float, str] | None = None
        self._elsewhere = 0
        self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(plan.sweep.name, total=self._total)
        self._live = (
            Live(console=console, get_renderable=self._picture, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, trial: PlannedTrial) -> None:
        """Show the trial among the running ones."""
        self._epochs[trial.signature] = (trial, -1, {})
        self._elsewhere = 0

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """Show the trial's last epoch."""
        self._epochs[trial.signature] = (trial, epoch, metrics)
        self._line_now_and_then()

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """Count the trial; a failure is told at once."""
        self._epochs.pop(trial.signature, None)
        self._results[result] += 1
        self._bar.update(self._task, advance=1)
        if result == "failed":
            self._say(f"failed: {trial.membership.name} ({trial.signature}); see {trial.paths.log}")
        else:
            self._note_best(trial)
        self._line_now_and_then()

    def waiting(self, elsewhere: int) -> None:
        """Show that another command holds what is left."""
        if elsewhere and not self._elsewhere:
            self._say(f"waiting for {elsewhere} trials that another command is training")
        self._elsewhere = elsewhere

    def _note_best(self, trial: PlannedTrial) -> None:
        from nnray.store.metrics_log import read_rows

        metric, mode = self._plan.sweep.metric, self._plan.sweep.mode
        value = best_value([row[metric] for row in read_rows(trial.paths.metrics) if metric in row], mode)
        if value is not None and (self._best is None or best_value([value, self._best[0]], mode) != self._best[0]):
            self._best = (value, trial.membership.name)

    def _say(self, line: str) -> None:
        console = self._live.console if self._live is not None else self._console
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line_now_and_then(self) -> None:
        if self._live is None and time.monotonic() - self._printed >= _LINES_EVERY_S:
            self._printed = time.monotonic()
            self._say(self._summary())

    def _summary(self) -> str:
        done = sum(self._results.values())
        parts = [f"{self._plan.sweep.name}: {done} of {self._total} trials done", f"{len(self._epochs)} running"]
        if self._results["failed"]:
            parts.append(f"{self._results['failed']} failed")
        if self._best is not None:
            parts.append(f"best {self._plan.sweep.metric} {self._best[0]:.4g} ({self._best[1]})")
        return ", ".join(parts)

    def _picture(self) -> Any:
        table = Table(box=None, pad_edge=False)
        metrics = sorted({name for _, _, values in self._epochs.values() for name in values})
        for heading in ("trial", "epoch", *metrics):
            table.add_column(heading, justify="left" if heading == "trial" else "right")
        for trial, epoch, values in list(self._epochs.values())[:_ROWS]:
            total = trial.configuration.values["trainer"]["max_epochs"]
            cells = [f"{values[name]:.4g}" if name in values else "" for name in metrics]
            table.add_row(trial.membership.name, f"{epoch + 1}/{total}", *cells)
        if len(self._epochs) > _ROWS:
            table.add_row(f"... and {len(self._epochs) - _ROWS} more")
        return Group(table, self._summary(), self._bar)
