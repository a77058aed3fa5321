"""Listed trials as bytes: for the file that spares the next command reading what has not changed, and for processes.

The rows of all trials with the same layout stand in one Arrow table, everything else of them in JSON beside it. Nothing
is lost, and nothing is ever unpickled. The file is no truth: what is missing in it or damaged is read from the folders.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from nnray.store.files import replacing
from nnray.store.listed_trial import Checkpoints, Layout, ListedTrial, Metrics, Outcome
from nnray.store.membership import Membership
from nnray.trial.paths import StorePaths

_FORMAT = b"nnray listing 1"
"""What the file begins with; a file of another format is passed over."""
_SCHEMA = pa.schema([("layout", pa.string()), ("trials", pa.large_string()), ("rows", pa.large_binary())])
_COORDINATES = ("epoch", "step", "time")


def write_listing(store: StorePaths, sweep: str, trials: Sequence[ListedTrial]) -> None:
    """Replace the file of ``sweep`` in one step."""
    content = pack(trials)
    with replacing(store.listing(sweep)) as beside:
        beside.write_bytes(b"\n".join([_FORMAT, hashlib.sha256(content).hexdigest().encode(), content]))


def read_listing(store: StorePaths, sweep: str) -> list[ListedTrial]:
    """Return what the file of ``sweep`` holds; nothing if it is missing, damaged or of another format."""
    try:
        form, digest, content = store.listing(sweep).read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return []
    if form != _FORMAT or digest != hashlib.sha256(content).hexdigest().encode():
        return []
    try:
        return unpack(content, store, sweep)
    except (KeyError, TypeError, ValueError):  # pyarrow's errors are ValueErrors
        return []


def pack(trials: Iterable[ListedTrial]) -> bytes:
    """Return ``trials`` as bytes."""
    groups: dict[Layout, list[ListedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.metrics.layout, []).append(trial)
    columns = [
        [json.dumps([layout.names, [sorted(kinds) for kinds in layout.kinds]]) for layout in groups],
        [json.dumps([_values(trial) for trial in group]) for group in groups.values()],
        [_rows(layout, [trial.metrics for trial in group]) for layout, group in groups.items()],
    ]
    return _ipc(pa.table(columns, schema=_SCHEMA))


def unpack(content: bytes, store: StorePaths, sweep: str) -> list[ListedTrial]:
    """Return what :func:`pack` made bytes of; the trials' rows share its memory."""
    trials = []
    for group in pa.ipc.open_stream(content).read_all().to_pylist():
        names, kinds = json.loads(group["layout"])
        layout = Layout(tuple(map(sys.intern, names)), tuple(frozenset(entry) for entry in kinds))
        rows = pa.ipc.open_stream(group["rows"]).read_all()
        arrays = [column.combine_chunks() for column in rows.columns]
        start = 0
        for values in json.loads(group["trials"]):
            count = values.pop("rows")
            trials.append(_trial(values, layout, [array.slice(start, count) for array in arrays], store, sweep))
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
        "checkpoints": trial.checkpoints,
        "rows": len(trial.metrics.epochs),
    }


def _trial(
    values: dict[str, Any], layout: Layout, arrays: list[pa.Array], store: StorePaths, sweep: str
) -> ListedTrial:
    outcome = values["outcome"]
    for key in ("started", "ended"):
        outcome[key] = outcome[key] and datetime.fromisoformat(outcome[key])
    epochs, steps, times, *metrics = arrays
    return ListedTrial(
        sweep=sweep,
        membership=Membership(**values["membership"]),
        paths=store.trial(values["signature"]),
        stamp=tuple(tuple(entry) for entry in values["stamp"]),
        status=values["status"],
        outcome=Outcome(**outcome),
        flat_config=values["config"],
        metrics=Metrics(layout, epochs, steps, times, tuple(metrics), tuple(values["last"]), tuple(values["best"])),
        checkpoints=Checkpoints(*(tuple(entry) for entry in values["checkpoints"])),
    )


def _rows(layout: Layout, metrics: Sequence[Metrics]) -> bytes:
    columns = zip(*((each.epochs, each.steps, each.times, *each.values) for each in metrics), strict=True)
    arrays = [pa.concat_arrays(column) for column in columns]
    names = [*_COORDINATES, *itertools.islice(map(str, itertools.count()), len(layout.names))]
    return _ipc(pa.table(arrays, names=names))


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
