"""Parquet files that are replaced while others read them by their path.

``pandas.read_parquet`` and ``pyarrow.dataset`` open a path twice: for the footer, and again for the data. Where the
file is replaced in between, they look up the offsets of the old footer in the new file. So a new file holds the data of
the one that it replaces at the same place, and its own in front of that or behind it. The footer at the end names its
own data alone; readers follow it and see nothing of the rest.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nnray.store.files import replacing

_SPARE = 1.25
"""A new file may be so much larger than the old one and is still tried in front of it."""
_ROW_GROUP = 131_072
"""Rows that readers can skip or read beside others."""


def write_parquet(table: pa.Table, path: Path) -> None:
    """Replace the file at ``path`` by ``table`` in one step; who has read the old one's footer can read its data.

    That holds until the file is replaced once more. The file may be three times as long as its data.
    """
    start, end = _data_range(path)
    with replacing(path) as beside:
        if start < _SPARE * (end - start) or not _write_before(table, beside, path, start, end):
            with pa.OSFile(str(beside), "wb") as file, _writer(table, file) as writer:
                _copy(path, file, end)
                writer.write_table(table, _ROW_GROUP)


def _write_before(table: pa.Table, beside: Path, path: Path, start: int, end: int) -> bool:
    """Write ``table`` in front of the data of the file at ``path``; return whether there was room."""
    with pa.OSFile(str(beside), "wb") as file, _writer(table, file) as writer:
        writer.write_table(table, _ROW_GROUP)
        if file.tell() > start:
            return False
        file.write(bytes(start - file.tell()))
        _copy(path, file, end)
    return True


def _writer(table: pa.Table, file: pa.NativeFile) -> pq.ParquetWriter:
    """Return a writer to ``file``, whose row groups come where the file stands when they are written."""
    texts = [field.name for field in table.schema if field.type != pa.float64()]  # floats hardly ever repeat
    return pq.ParquetWriter(file, table.schema, use_dictionary=texts)


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
            while (left := end - file.tell()) > 0 and (chunk := old.read(min(left, 1 << 22))):
                file.write(chunk)
