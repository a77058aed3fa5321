"""Listed trials as bytes: for the file that spares the next command reading what has not changed, and for processes.

The rows of trials with the same layout stand in one Arrow table, everything else of them in JSON beside it. Nothing is
lost, and nothing is ever unpickled. The file is no truth: what is missing in it or damaged is read from the folders. It
is written and read some trials at a time, so that no more than these are in memory once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from nnray.store.files import is_object, replacing
from nnray.store.held_rows import HeldRows
from nnray.store.listed_trial import Checkpoints, Layout, ListedTrial, Metrics, Outcome, shared, shared_text
from nnray.store.membership import Membership
from nnray.trial.paths import StorePaths

_FORMAT = b"nnray listing 2\n"
"""What the file begins with; a file of another format is passed over."""
_PART = 128
"""Trials that are written together: behind a line with the number of bytes and their SHA-256."""
_LONGEST_LINE = 100
_SCHEMA = pa.schema([("layout", pa.string()), ("trials", pa.large_string()), ("rows", pa.large_binary())])
_COORDINATES = 3
"""Columns of rows in front of the metrics: epoch, step, time."""


def write_listing(store: StorePaths, sweep: str, trials: Sequence[ListedTrial]) -> None:
    """Replace the file of ``sweep`` in one step."""
    with replacing(store.listing(sweep)) as beside, beside.open("wb") as file:
        file.write(_FORMAT)
        for start in range(0, len(trials), _PART):
            content = pack(trials[start : start + _PART])
            file.write(b"%d %s\n" % (len(content), hashlib.sha256(content).hexdigest().encode()))
            file.write(content)


def read_listing(store: StorePaths, sweep: str) -> Iterator[ListedTrial]:
    """Yield what the file of ``sweep`` holds up to where it is damaged; nothing of a missing file or another format."""
    damage = (OSError, KeyError, TypeError, ValueError)  # pyarrow's errors are ValueErrors
    with contextlib.suppress(*damage), _opened(store.listing(sweep)) as file:
        if file.read(len(_FORMAT)) != _FORMAT:
            return
        while line := file.readline(_LONGEST_LINE):
            size, digest = line.split()
            content = file.read(int(size))
            if hashlib.sha256(content).hexdigest().encode() != digest:
                return
            yield from unpack(content, store, sweep)


def _opened(path: Path) -> IO[bytes]:
    return io.BytesIO(path.read_bytes()) if is_object(path) else path.open("rb")  # an object by one request


def pack(trials: Iterable[ListedTrial]) -> bytes:
    """Return ``trials`` as bytes."""
    groups: dict[Layout, list[ListedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.metrics.layout, []).append(trial)
    columns = [
        [json.dumps([layout.names, [sorted(kinds) for kinds in layout.kinds]]) for layout in groups],
        [json.dumps([_values(trial) for trial in group]) for group in groups.values()],
        [_rows(layout, group) for layout, group in groups.items()],
    ]
    return _ipc(pa.table(columns, schema=_SCHEMA))


def unpack(content: bytes, store: StorePaths, sweep: str) -> list[ListedTrial]:
    """Return what :func:`pack` made bytes of; the trials' rows share its memory."""
    trials = []
    for group in pa.ipc.open_stream(content).read_all().to_pylist():
        names, kinds = json.loads(group["layout"])
        layout = shared(Layout(tuple(map(sys.intern, names)), tuple(frozenset(entry) for entry in kinds)))
        rows = pa.ipc.open_stream(group["rows"]).read_all()
        arrays = [column.combine_chunks() for column in rows.columns]
        start = 0
        for values in json.loads(group["trials"]):
            count = values.pop("rows")
            trials.append(_trial(values, layout, HeldRows(arrays, start, count), store, sweep))
            start += count
    return trials


def _values(trial: ListedTrial) -> dict[str, Any]:
    """Return everything of ``trial`` but its rows, as JSON has it."""
    outcome = trial.outcome._asdict()
    for key in ("started", "ended"):
        outcome[key] = outcome[key] and outcome[key].isoformat()
    membership = asdict(trial.membership)
    del membership["asks"]
    return {
        "signature": trial.signature,
        "stamp": trial.stamp,
        "membership": membership,
        "status": trial.status,
        "outcome": outcome,
        "config": trial.flat_config,
        "last": trial.metrics.last,
        "best": trial.metrics.best,
        "checkpoints": [list(column) for column in trial.checkpoints],
        "rows": trial.metrics.rows.count,
    }


def _trial(values: dict[str, Any], layout: Layout, rows: HeldRows, store: StorePaths, sweep: str) -> ListedTrial:
    outcome = values["outcome"]
    for key in ("started", "ended"):
        outcome[key] = outcome[key] and datetime.fromisoformat(outcome[key])
    return ListedTrial(
        sweep=sweep,
        membership=Membership(**values["membership"]),
        paths=store.trial(values["signature"]),
        stamp=tuple(tuple(entry) for entry in values["stamp"]),
        status=values["status"],
        outcome=Outcome(**outcome),
        flat_config=shared_text(values["config"]),
        metrics=Metrics(layout, rows, tuple(values["last"]), tuple(values["best"])),
        checkpoints=Checkpoints.of(*values["checkpoints"]),
    )


def _rows(layout: Layout, trials: Sequence[ListedTrial]) -> bytes:
    columns = zip(*(trial.metrics.rows.arrays() for trial in trials), strict=True)
    names = [str(number) for number in range(_COORDINATES + len(layout.names))]
    return _ipc(pa.table([pa.concat_arrays(column) for column in columns], names=names))


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
