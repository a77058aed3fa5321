"""A trial's metrics: a JSON object per line and epoch, safe to append to and to be killed at.

A row has ``epoch`` and ``step`` (integers), ``time`` (seconds since 1970, UTC) and a number per metric; its line has a
checksum as well. A line that a kill cut short is not a row: readers pass it over, and the next runner cuts it off.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import Fence, is_object, read_bytes, unfenced, write_bytes
from nnray.store.metrics_lines import Row, decode, encode

ROW_KEYS = ("epoch", "step", "time")

HYPER = "hyper/"
"""Begins the names of hyperparameters that change while a trial trains: no metrics, but with a value in each row."""


def write_rows(path: Path, rows: Iterable[Row], fence: Fence = unfenced) -> int:
    """Replace the file by one with ``rows``, in one step; return the last line's checksum."""
    content, checksum = encode(rows)
    write_bytes(path, content, fence)
    return checksum


class RowLog:
    """The rows of a trial while one runner writes them.

    The file is replaced when the runner begins and kept open: a former runner that was cut off, and appends beside its
    successor, appends to a file that nobody sees any more. An object is put anew for each row, and only over the one
    that was there when the fence was asked.

    Args:
        path: The file.
        rows: The rows that it has to begin with.
        fence: Raises if this process may no longer write to the trial.
        ahead: Rows of a former runner for epochs that are trained again; each stays until there is a new one, so that
            no reader sees it go.
    """

    def __init__(self, path: Path, rows: Sequence[Row], fence: Fence = unfenced, ahead: Sequence[Row] = ()) -> None:
        self._path, self._fence = path, fence
        self._rows, self._ahead = list(rows), list(ahead)
        self._descriptor: int | None = None
        self._checksum = 0
        if not is_object(path):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
            with contextlib.suppress(FileExistsError):
                self._descriptor = os.open(path, flags, 0o666)
                return
        self._replace()

    def append(self, row: Row) -> None:
        """Append ``row``; it is whole for every reader once this returns."""
        self._fence()
        self._rows.append(row)
        if self._ahead or self._descriptor is None:
            self._ahead = [other for other in self._ahead if other["epoch"] > row["epoch"]]
            self._replace()
        else:
            line, self._checksum = encode([row], self._checksum)
            _write_all(self._descriptor, line)
            os.close(os.dup(self._descriptor))  # network file systems show others what was written at a closing

    def drop_ahead(self) -> None:
        """Let the former runner's rows go for which no new one will come."""
        if self._ahead:
            self._ahead = []
            self._replace()

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _replace(self) -> None:
        self._checksum = write_rows(self._path, [*self._rows, *self._ahead], self._fence)
        if not is_object(self._path):
            self.close()
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read_rows(path: Path) -> list[Row]:
    """Return the rows in order, none if there is no file; of a damaged one, those before the damage."""
    return decode(_content(path))[0]


def checked_rows(path: Path, count: int | None) -> list[Row]:
    """Return the rows in order, none if there is no file.

    Args:
        path: The file.
        count: How many rows there must be at least (``rows`` of the trial's record); None if nothing is known of that.

    Raises:
        StoreError: If the file is not what was written.
    """
    rows, problem = decode(_content(path), strict=count is not None)
    if problem is None and count is not None and len(rows) < count:
        problem = f"it has {len(rows)} of {count} rows"
    if problem is not None:
        raise StoreError(f"{path} is damaged: {problem}")
    return rows


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return b""


def rows_around(path: Path, epoch: int) -> tuple[list[Row], list[Row]]:
    """Return the rows of the epochs before ``epoch``, and those from it on, which are going to be trained again."""
    rows = read_rows(path)
    return [row for row in rows if row["epoch"] < epoch], [row for row in rows if row["epoch"] >= epoch]


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
