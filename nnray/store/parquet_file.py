"""Parquet files that are replaced while others read them by their path.

``pandas.read_parquet`` and ``pyarrow.dataset`` open a path twice: for the footer, and again for the data. Where the
file is replaced in between, they look up the offsets of the old footer in the new file. So a new file holds the data of
the one that it replaces at the same place, and its own in front of that or behind it. The footer at the end names its
own data alone; readers follow it and see nothing of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nnray.store.files import replacing

_SPARE = 1.25
"""A new file may be so much larger than the old one and is still tried in front of it."""
_ROW_GROUP = 131_072
"""Rows that readers can skip or read beside others."""


_CHUNK = 1 << 22
"""Bytes that are copied at a time."""

Parts = Callable[[], Iterator[pa.Table]]


def write_parquet(schema: pa.Schema, parts: Parts, path: Path) -> None:
    """Replace the file at ``path`` by a table in one step; who has read the old one's footer can read its data.

    That holds until the file is replaced once more. The file may be three times as long as its data. In memory are
    no more rows than a row group and a part have.

    Args:
        schema: The table's columns.
        parts: Yields its rows; may be called again.
        path: The file.
    """
    start, end = _data_range(path)
    with replacing(path) as beside:
        if start < _SPARE * (end - start) or not _write_before(schema, parts, beside, path, start, end):
            with pa.OSFile(str(beside), "wb") as file, _writer(schema, file) as writer:
                _copy(path, file, end)
                _write_rows(writer, parts())


def _write_before(schema: pa.Schema, parts: Parts, beside: Path, path: Path, start: int, end: int) -> bool:
    """Write the table in front of the data of the file at ``path``; return whether there was room."""
    with pa.OSFile(str(beside), "wb") as file, _writer(schema, file) as writer:
        _write_rows(writer, parts())
        if file.tell() > start:
            return False
        while gap := min(start - file.tell(), _CHUNK):
            file.write(bytes(gap))
        _copy(path, file, end)
    return True


def _write_rows(writer: pq.ParquetWriter, parts: Iterator[pa.Table]) -> None:
    """Write row groups of the same number of rows, the last one excepted, whatever the parts have."""
    waiting: list[pa.Table] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += part.num_rows
        while count >= _ROW_GROUP:
            whole = pa.concat_tables(waiting)
            writer.write_table(whole.slice(0, _ROW_GROUP))
            waiting, count = [whole.slice(_ROW_GROUP)], count - _ROW_GROUP
    if count:
        writer.write_table(pa.concat_tables(waiting))


def _writer(schema: pa.Schema, file: pa.NativeFile) -> pq.ParquetWriter:
    """Return a writer to ``file``, whose row groups come where the file stands when they are written."""
    texts = [field.name for field in schema if field.type != pa.float64()]  # floats hardly ever repeat
    return pq.ParquetWriter(file, schema, use_dictionary=texts)


def _data_range(path: Path) -> tuple[int, int]:
    """Return where the data of the file at ``path`` begins and ends; nothing at its beginning if there is none."""
    try:
        with path.open("rb") as file:
            metadata = pq.read_metadata(file)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors; a damaged file is nothing to keep
        return 0, 0
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups if group.num_rows for index in range(group.num_columns)]
    begins = [min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))) for chunk in chunks]
    ends = [begin + chunk.total_compressed_size for begin, chunk in zip(begins, chunks, strict=True)]
    return min(begins, default=0), max(ends, default=0)


def _copy(path: Path, file: pa.NativeFile, end: int) -> None:
    """Copy the file at ``path`` up to ``end`` to ``file``, from where that stands."""
    if end:
        with path.open("rb") as old:
            old.seek(file.tell())
            while (left := end - file.tell()) > 0 and (chunk := old.read(min(left, _CHUNK))):
                file.write(chunk)
