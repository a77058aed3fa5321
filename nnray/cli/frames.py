"""Frames for people: the columns worth showing under short names, as a table or as Markdown."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def readable_trials(frame: pd.DataFrame, metrics: list[str], metric: str | None) -> pd.DataFrame:
    """Return what tells the trials apart and what came out of them.

    Args:
        frame: A table of trials.
        metrics: Its columns of last values.
        metric: The sweep's metric, whose best value is shown too.
    """
    from nnray.store.query import varying_config
    from nnray.store.table_block import BEST

    config = varying_config(frame)
    told = config or ["name"]
    status = ["status"] if (frame["status"] != "completed").any() else []
    error = ["error"] if frame["error"].notna().any() else []
    best = [BEST + metric] if metric and BEST + metric in frame.columns else []
    return labelled(frame[["trial", *told, *status, *best, *metrics, "duration_s", *error]])


def readable_means(frame: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return groups of trials with ``mean ± deviation`` of each metric's last value in one column."""
    from nnray.store.table_block import CONFIG

    shown = frame[[column for column in frame.columns if column.startswith(CONFIG) or column == "trials"]].copy()
    for metric in metrics:
        if f"{metric}/mean" in frame.columns:
            pairs = zip(frame[f"{metric}/mean"], frame[f"{metric}/std"], strict=True)
            shown[metric] = [" ± ".join(filter(None, (cell(mean), cell(std)))) for mean, std in pairs]
    return labelled(shown)


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with the shortest names that tell its columns apart, and classes without their modules."""
    from nnray.store.query import short_labels

    labels = short_labels(frame.columns)
    frame = frame.copy()
    for column in frame.columns:
        if column.endswith(".class_path"):
            frame[column] = [value.rpartition(".")[2] if isinstance(value, str) else value for value in frame[column]]
    return frame.rename(columns=labels)


def cell(value: Any) -> str:
    """Return a value as one line: four digits of a number, times to the second, nothing for what is missing."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return " ".join(str(value).split())


def markdown(frame: pd.DataFrame) -> str:
    """Return ``frame`` as a Markdown table."""
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def print_table(frame: pd.DataFrame) -> None:
    """Print ``frame``, fitted to the terminal's width; in full where it goes to a file or a pipe."""
    import pandas as pd
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[column].dtype)
        table.add_column(escape(str(column)), justify="right" if numeric else "left", no_wrap=True)
    for row in frame.itertuples(index=False, name=None):
        table.add_row(*(escape(cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 100_000, highlight=False).print(table)
