"""Which trials changed with the last writings of a sweep's tables: what spares other commands looking at all folders.

The file is no truth: where it is missing, damaged or older than the tables, all folders are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from nnray.store.files import write_text
from nnray.store.json_files import check_types, read_json

TableStamp = tuple[int, ...]
"""What tells the tables from those that they replace: inode and time of the first and of the last one."""

_KEPT = 1024
"""Changes that the file tells of."""


class Seen(NamedTuple):
    """How far a command has followed the changes: those up to ``number`` of the series ``series``."""

    series: str
    number: int


@dataclass(frozen=True)
class TableChanges:
    """The last changes of tables.

    Attributes:
        table: The stamp of the tables that came with the last of them.
        series: Tells the changes that are counted together from those before the file was lost.
        count: How many changes there were.
        last: Signatures of the trials that changed last, in order.
    """

    table: list[int]
    series: str
    count: int
    last: list[str]

    @property
    def seen(self) -> Seen:
        """How far a command has followed the changes that knows all of them."""
        return Seen(self.series, self.count)

    def since(self, seen: Seen | None) -> frozenset[str] | None:
        """Return the trials that changed after those that were ``seen``, None if that is not known."""
        missing = self.count - seen.number if seen is not None and seen.series == self.series else -1
        return frozenset(self.last[len(self.last) - missing :]) if 0 <= missing <= len(self.last) else None


def read_changes(path: Path, table: TableStamp | None) -> TableChanges | None:
    """Return what the file at ``path`` tells, None if it is not about the tables that are there, of this stamp."""
    try:
        values = read_json(path)
        check_types(TableChanges, values)
        changes = TableChanges(**values)
    except (OSError, ValueError, TypeError):
        return None
    return changes if table is not None and tuple(changes.table) == table else None


def write_changes(path: Path, table: TableStamp, before: TableChanges | None, changed: Iterable[str]) -> Seen:
    """Replace the file at ``path`` once tables are written with trials that changed.

    Args:
        path: The file.
        table: The stamp of the tables.
        before: What the file told of the tables before, if it did.
        changed: The trials.

    Returns:
        How far the command that wrote the tables has followed the changes.
    """
    series, count, last = (before.series, before.count, before.last) if before else (uuid4().hex, 0, [])
    signatures = sorted(changed)
    after = TableChanges(list(table), series, count + len(signatures), [*last, *signatures][-_KEPT:])
    write_text(path, json.dumps(vars(after)) + "\n")
    return after.seen
