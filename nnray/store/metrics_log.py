"""A trial's metrics: a JSON object per line and epoch, safe to append to and to be killed at.

A row has ``epoch`` and ``step`` (integers), ``time`` (seconds since 1970, UTC) and a number per metric. A line that a
kill cut short is not a row: readers pass it over, and the next runner cuts it off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnray.store.files import append, write_text

Row = dict[str, Any]
ROW_KEYS = ("epoch", "step", "time")

HYPER = "hyper/"
"""Begins the names of hyperparameters that change while a trial trains: no metrics, but with a value in each row."""


def append_row(path: Path, row: Row) -> None:
    """Append ``row``; it is whole for every reader once this returns."""
    append(path, (json.dumps(row) + "\n").encode())


def read_rows(path: Path) -> list[Row]:
    """Return the rows in order; none if there is no file."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # behind the last newline stands nothing, or half a row
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("epoch")) is int and 0 <= row["epoch"] < 2**63:
            rows.append(row)
    return rows


def keep_rows_before(path: Path, epoch: int) -> list[Row]:
    """Drop the rows of ``epoch`` and later, which are going to be trained again, and return the rest."""
    rows = [row for row in read_rows(path) if row["epoch"] < epoch]
    if path.exists():
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def metrics_of(row: Row) -> dict[str, float]:
    """Return the metrics in a row, without its coordinates."""
    return {key: value for key, value in row.items() if key not in ROW_KEYS}


def default_mode(metric: str) -> str:
    """Return ``min`` or ``max``: which values of a metric of this name are better, where nobody has said."""
    smaller = ("loss", "error", "err", "nll", "perplexity", "mse", "mae", "rmse")
    return "min" if any(part in smaller for part in metric.lower().replace("/", "_").split("_")) else "max"


def best_value(values: list[float], mode: str) -> float | None:
    """Return the best of ``values``, NaN left out; None if nothing is left."""
    numbers = [value for value in values if value == value]  # of an integer beyond floats, math.isnan knows nothing
    if not numbers:
        return None
    return max(numbers) if mode == "max" else min(numbers)
