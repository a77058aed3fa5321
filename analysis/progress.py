"""A progress bar over the networks of a job, in terminals and notebooks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from analysis.pool import Done

Task = TypeVar("Task")


def with_progress(
    results: Iterable[Done[Task]], what: str, total: int, done: int = 0, images: int = 0
) -> Iterator[Done[Task]]:
    """Yield ``results`` and show how far they are.

    Args:
        results: One for each piece of work.
        what: Stands before the bar.
        total: How many pieces there are, those done before included.
        done: How many were done before.
        images: How many images a piece means, for the rate; 0 for no rate.
    """
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not _shows(console),
        transient=True,
    )
    begun, failed = time.monotonic(), 0
    with bar:
        task = bar.add_task(what, total=total, completed=done, rate="")
        for count, result in enumerate(results, start=1):
            failed += result.error is not None
            rate = f"{count * images / max(time.monotonic() - begun, 1e-9):,.0f} images/s" if images else ""
            bar.update(task, advance=1, rate=f"{rate} {failed} failed" if failed else rate)
            yield result


def _shows(console: Console) -> bool:
    return console.is_terminal or console.is_jupyter
