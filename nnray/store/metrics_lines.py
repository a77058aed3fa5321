"""The lines of ``metrics.jsonl``: a row each, with a checksum of it and of all rows before it.

A line that was changed, or is missing from the midst, so shows in the file alone, also while it grows. How many lines
there are in the end is told by the trial's record.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

_END = re.compile(rb', "crc32": "([0-9a-f]{8})"\}')
_END_SIZE = len(', "crc32": "01234567"}')


def encode(rows: Iterable[Row], checksum: int = 0) -> tuple[bytes, int]:
    """Return the lines of ``rows`` and the last one's checksum; ``checksum`` is that of the line before them."""
    lines = []
    for row in rows:
        text = json.dumps(row)[:-1].encode()
        checksum = zlib.crc32(text, checksum)
        lines.append(b'%b, "crc32": "%08x"}\n' % (text, checksum))
    return b"".join(lines), checksum


def decode(content: bytes, strict: bool = False) -> tuple[list[Row], str | None]:
    """Return the rows before the first line that is not what was written, and what is wrong with that one.

    Behind the last newline stands nothing, or half a row, which is passed over. Former versions wrote no checksums: in
    a file that has none at all, what is no row is passed over, too.

    Args:
        content: What the file holds.
        strict: Whether there must be checksums.
    """
    lines = content.split(b"\n")[:-1]
    ends = [_END.fullmatch(line[-_END_SIZE:]) for line in lines]
    if not (strict or any(ends)):
        return [row for row in map(_row, lines) if row is not None], None
    rows: list[Row] = []
    checksum = 0
    for number, (line, end) in enumerate(zip(lines, ends, strict=True), 1):
        text = line[:-_END_SIZE]
        checksum = zlib.crc32(text, checksum)
        row = _row(text + b"}") if end is not None and int(end[1], 16) == checksum else None
        if row is None:
            return rows, f"line {number} is not what was written (its checksum differs)"
        rows.append(row)
    return rows, None


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_row = isinstance(row, dict) and type(row.get("epoch")) is int and 0 <= row["epoch"] < 2**63
    return row if is_row else None
