"""The picture of a sweep's progress: a line that counts, and a table of the trials worth a line, at any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from nnray.store.progress import SweepProgress, TrialProgress
from nnray.store.query import find_name, is_short_name, short_labels
from nnray.store.table_block import BEST

_STYLES = {"running": "cyan", "completed": "green", "stopped": "yellow", "failed": "red"}
_GAP = 2
_LEAST_NAME = 12
"""Width below which a name says too little; other columns give way first, those named here in this order."""
_GIVE_WAY = ("rate", "time", "status", "epoch")
_MOST_FAILED = 3
_LEAST_FINISHED = 5
_MARGIN = 5
"""Lines of a terminal that are left to what is not a trial."""

COMPUTED: dict[str, Callable[[TrialProgress], str]] = {
    "trial": lambda trial: trial.signature,
    "name": lambda trial: trial.name,
    "status": lambda trial: trial.status,
    "epoch": lambda trial: _epoch(trial),
    "rate": lambda trial: "" if trial.rate is None else rate_text(trial.rate),
    "time": lambda trial: _time(trial),
    "error": lambda trial: " ".join((trial.error or "").split()),
}
"""The columns that are not values of the table of trials."""


def default_columns(metric: str | None) -> tuple[str, ...]:
    """Return the columns that are shown where nobody has chosen; ``metric`` is the column of the sweep's metric."""
    values = (metric, BEST + metric) if metric else ()
    return ("name", "status", "epoch", *values, "rate", "time")


def chosen_columns(text: str | None, names: Iterable[str], metric: str | None, open_ended: bool) -> tuple[str, ...]:
    """Return the columns that a person has chosen, or the usual ones.

    Args:
        text: Names with commas between them, ``best`` for the metric's best value; None for the usual ones.
        names: The columns that the table of trials has.
        metric: The column of the sweep's metric.
        open_ended: Whether a name that is none of ``names`` may be a metric that nobody has reported yet.

    Raises:
        StoreError: If a column is not there, or may be one of several.
    """
    if text is None:
        return default_columns(metric)
    names = [*names]
    chosen: dict[str, None] = {}
    for name in (part.strip() for part in text.split(",")):
        column = BEST + metric if name == "best" and metric else name
        if column not in COMPUTED and (not open_ended or is_short_name(names, column)):
            column = find_name(names, column, COMPUTED)
        chosen[column] = None
    return tuple(chosen)


@dataclass(frozen=True)
class ProgressTable:
    """A sweep's progress as rich shows it.

    Attributes:
        progress: What to show.
        columns: Columns by the names of :data:`COMPUTED`, or by their full names in the table of trials.
    """

    progress: SweepProgress
    columns: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fit names and columns to the width, and rows to the height of a terminal."""
        yield Text(headline(self.progress))
        lines = console.height - _MARGIN if console.is_terminal else None
        trials = _chosen(self.progress, lines)
        if not trials:
            return
        labels = {**short_labels(self.columns), **{name: name for name in COMPUTED}}
        labels |= {column: "best" for column in self.columns if column == BEST + (self.progress.metric or "")}
        cells = {column: [labels[column], *(_cell(trial, column) for trial in trials)] for column in self.columns}
        cells = _fitted(cells, options.max_width)
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
        for column, (label, *_) in cells.items():
            left = column in ("trial", "name", "status", "error")
            table.add_column(Text(label), justify="left" if left else "right", no_wrap=True, overflow="crop")
        for index, trial in enumerate(trials, start=1):
            table.add_row(*(Text(column[index]) for column in cells.values()), style=_STYLES.get(trial.status))
        yield table


def headline(progress: SweepProgress) -> str:
    """Return one line: how many trials have which status, the best value, and the time that is left."""
    counts = progress.counts
    parts = [f"{progress.sweep}: {progress.done} of {progress.total} trials done"]
    if counts["stopped"]:
        parts.append(f"{counts['stopped']} of them stopped early")
    parts += [f"{counts[status]} {status}" for status in ("running", "pending") if counts[status]]
    if counts["failed"]:
        causes = ", ".join(f"{number} {cause}" for cause, number in progress.causes.most_common())
        parts.append(f"{counts['failed']} failed" + (f" ({causes})" if causes else ""))
    best = next(iter(progress.finished), None)
    if best is not None and progress.metric:
        value = best.values.get(BEST + progress.metric)
        if isinstance(value, (int, float)) and not math.isnan(value):
            parts.append(f"best {progress.metric} {value:.4g} ({best.name})")
    if progress.left_s is not None:
        parts.append(f"about {clock(progress.left_s)} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as ``4.2s``, ``0:42``, ``3:07:00`` or ``2d 03:07``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate_text(rate: float) -> str:
    """Return epochs per second, or per minute or hour where that is below one."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.3g}/{unit}"
    return f"{rate * 86400:.3g}/d"


def shortened(name: str, width: int) -> str:
    """Return ``name`` in at most ``width`` cells: of a longer one the beginning and the end, where the seed stands."""
    if cell_len(name) <= width:
        return name
    tail = max(0, (width - 1) // 3)
    end = name[len(name) - tail :] if tail else ""
    return set_cell_size(name, max(0, width - 1 - cell_len(end))).rstrip() + "…" * (width > 0) + end


def _chosen(progress: SweepProgress, lines: int | None) -> list[TrialProgress]:
    """Return the trials that fit into ``lines`` (None for all): some failed ones, the best ones, and running ones."""
    if lines is None:
        return list(progress.trials)
    failed = progress.failed[: min(_MOST_FAILED, max(0, lines - 2))]
    finished = min(len(progress.finished), _LEAST_FINISHED)
    running = progress.running[: max(1, lines - len(failed) - finished)]
    return [*running, *progress.finished[: max(0, lines - len(running) - len(failed))], *failed]


def _cell(trial: TrialProgress, column: str) -> str:
    if column in COMPUTED:
        return COMPUTED[column](trial)
    return _value(trial.values.get(column))


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return " ".join(str(value).split())


def _fitted(cells: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """Leave columns out and shorten names and errors until everything fits into ``width`` cells."""
    cells = dict(cells)
    widths = {column: max(map(cell_len, texts)) for column, texts in cells.items()}
    flexible = next((column for column in ("name", "error") if column in cells), None)
    least = min(widths[flexible], _LEAST_NAME) if flexible else 0
    order = [*(column for column in _GIVE_WAY if column in cells), *reversed(cells)]
    for column in order:
        if _needed(cells, widths, flexible, least) <= width or len(cells) == 1:
            break
        if column in cells and column != flexible:
            del cells[column]
    if flexible:
        room = width - _needed(cells, widths, flexible, 0)
        cells[flexible] = [shortened(text, max(1, room)) for text in cells[flexible]]
    return cells


def _needed(cells: dict[str, list[str]], widths: dict[str, int], flexible: str | None, least: int) -> int:
    return sum(least if column == flexible else widths[column] for column in cells) + _GAP * (len(cells) - 1)


def _epoch(trial: TrialProgress) -> str:
    if trial.epoch is None:
        return ""
    return str(trial.epoch) if trial.epochs is None else f"{trial.epoch}/{trial.epochs}"


def _time(trial: TrialProgress) -> str:
    if trial.left_s is not None:
        return f"{clock(trial.left_s)} left"
    return "" if trial.duration_s is None else clock(trial.duration_s)
