"""Somebody who reads the tables all the time, in a process of his own, and notes whatever should not be.

A table that was there once must stay readable, a row that was there must stay, and a trial that was completed must
stay so, with the same number of attempts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.store.files import is_local, readable

if TYPE_CHECKING:
    import pandas as pd

_PAUSE_S = 0.02
_PAUSE_IN_BUCKETS_S = 0.3
_MOST_PROBLEMS = 5
KEYS = {"trials": ["trial"], "metrics": ["trial", "epoch"], "checkpoints": ["trial", "epoch"]}
"""The columns that tell a row of each table from all others."""


@dataclass
class Findings:
    """What the reader has seen.

    Attributes:
        reads: How many tables were read.
        problems: What should not be.
    """

    reads: int = 0
    problems: list[str] = field(default_factory=list)


@contextmanager
def reading(context: ForkServerContext, tables: Path) -> Iterator[Findings]:
    """Read the tables in the folder ``tables`` as long as the block runs; the findings are filled in at its end."""
    findings = Findings()
    ours, theirs = context.Pipe()
    process = context.Process(target=_read, args=(tables, theirs, dict(os.environ)), daemon=True)
    process.start()
    theirs.close()
    try:
        yield findings
    finally:
        try:
            ours.send(None)
            seen: Findings = ours.recv()
        except (EOFError, OSError) as error:
            findings.problems.append(f"the reader ended: {error!r}")
        else:
            findings.reads, findings.problems = seen.reads, seen.problems
        process.join(10)


def _read(tables: Path, parent: Connection, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)  # the server that it was forked from has that of its own start
    os.nice(5)
    findings = Findings()
    memory: dict[tuple[str, str], dict[Any, Any]] = {}
    while True:
        last = parent.poll(_PAUSE_S if is_local(tables) else _PAUSE_IN_BUCKETS_S)  # look once more behind the end
        for kind in KEYS:
            _look(tables, kind, memory, findings)
        if last or len(findings.problems) >= _MOST_PROBLEMS:
            break
    parent.send(findings)


def _look(tables: Path, kind: str, memory: dict[tuple[str, str], dict[Any, Any]], findings: Findings) -> None:
    import pandas as pd

    known = {sweep for sweep, read in memory if read == kind}
    for sweep in sorted(known | {path.parent.name for path in tables.glob(f"*/{kind}.parquet")}):
        try:
            frame = pd.read_parquet(readable(tables / sweep / f"{kind}.parquet"))
            seen = _rows(frame, kind)
        except Exception as error:
            findings.problems.append(f"{_clock()} {sweep}/{kind}.parquet cannot be read: {error!r}"[:500])
            continue
        findings.reads += 1
        if len(seen) != len(frame):
            findings.problems.append(f"{_clock()} {sweep}/{kind}.parquet has rows twice")
        findings.problems += _regressions(memory.get((sweep, kind), {}), seen, f"{_clock()} {sweep}/{kind}.parquet")
        memory[sweep, kind] = seen


def _rows(frame: pd.DataFrame, kind: str) -> dict[Any, Any]:
    """Return what must not change any more of each row, by its key."""
    keys = list(frame[KEYS[kind]].itertuples(index=False, name=None))
    if kind != "trials":
        return dict.fromkeys(keys)
    final = frame["status"].isin(["completed", "stopped"])
    facts = zip(frame["status"], frame["attempts"], frame["ended"], strict=True)
    return {key: fact if is_final else None for key, fact, is_final in zip(keys, facts, final, strict=True)}


def _regressions(before: dict[Any, Any], after: dict[Any, Any], where: str) -> list[str]:
    gone = [key for key in before if key not in after]
    problems = [f"{where}: {len(gone)} rows have gone, such as {gone[0]}"] if gone else []
    for key, fact in before.items():
        if fact is not None and key in after and after[key] != fact:
            problems.append(f"{where}: the finished trial {key[0]} was {fact} and is {after[key]}")
    return problems


def _clock() -> str:
    return time.strftime("%H:%M:%S")
