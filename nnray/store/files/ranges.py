"""Parts of a file by their places: of an object that is larger than what is wanted, nothing else is fetched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.object_path import is_object

GAP = 256 << 10
"""Bytes between two ranges that are fetched with them: a request takes as long as some hundred KiB do."""

Range = tuple[int, int]
"""First byte, and the one behind the last."""


def read_ranges(path: Path, ranges: Sequence[Range]) -> list[bytes]:
    """Return the bytes of each of ``ranges``; near ones are fetched by one request, the requests at a time."""
    if not is_object(path):
        with path.open("rb") as file:
            return [_read(file, wanted) for wanted in ranges]
    merged = _merged(ranges)
    starts, ends = [start for start, _ in merged], [end for _, end in merged]
    with os_errors(path):
        parts = filesystem().cat_ranges([path.key] * len(merged), starts, ends, on_error="raise")
    return [_cut(wanted, merged, parts) for wanted in ranges]


def _merged(ranges: Sequence[Range]) -> list[Range]:
    """Return ranges that cover ``ranges``, in order, none of them near to the next one."""
    merged: list[Range] = []
    for start, end in sorted(wanted for wanted in ranges if wanted[0] < wanted[1]):
        if merged and start <= merged[-1][1] + GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _cut(wanted: Range, merged: Sequence[Range], parts: Sequence[bytes]) -> bytes:
    """Return the wanted bytes out of those that were fetched; fewer where the object ends before."""
    start, end = wanted
    if start >= end:
        return b""
    place = bisect_right(merged, start, key=itemgetter(0)) - 1
    offset = merged[place][0]
    return parts[place][start - offset : end - offset]


def _read(file: BinaryIO, wanted: Range) -> bytes:
    file.seek(wanted[0])
    return file.read(wanted[1] - wanted[0])
