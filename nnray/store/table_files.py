"""Parquet out of a store is read as what nnray writes there: plain columns, which nothing is unpickled for.

Arrow lets a file name an *extension type* for a column, whose Python class, where one is registered, makes the column's
values. Ray Data registers one (``ray.data.arrow_pickled_object``) that unpickles them. nnray writes no such columns, so
a table that has one is not nnray's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nnray.errors import StoreError
from nnray.store.files import readable

if TYPE_CHECKING:
    import pandas as pd

_NAME = b"ARROW:extension:name"
"""Where a field names its extension type if that is not registered in this process."""


def read_frame(path: Path) -> pd.DataFrame:
    """Return the table at ``path``.

    Raises:
        OSError, ValueError: It cannot be read (pyarrow's errors are ValueErrors).
        StoreError: It has columns of an extension type.
    """
    import pandas as pd

    source = readable(path)
    check_plain(pq.read_schema(source), path)
    return pd.read_parquet(source, partitioning=None)  # a folder above named "lr=1" is no column


def check_plain(schema: pa.Schema, path: Path) -> None:
    """Raise StoreError if a column of the table at ``path`` is, or holds, values of an extension type."""
    for column in schema:
        for field in _fields(column):
            metadata = field.metadata or {}
            if isinstance(field.type, pa.BaseExtensionType) or _NAME in metadata:
                named = getattr(field.type, "extension_name", None) or metadata[_NAME].decode(errors="replace")
                raise StoreError(f"{path} is refused: its column {column.name!r} is of the extension type {named!r}")


def _fields(field: pa.Field) -> Iterator[pa.Field]:
    yield field
    inner = field.type
    if pa.types.is_dictionary(inner):
        yield from _fields(pa.field(field.name, inner.value_type))
    elif pa.types.is_nested(inner):
        for place in range(inner.num_fields):
            yield from _fields(inner.field(place))
