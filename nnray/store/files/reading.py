"""Reading files with libraries that want a local path or an open file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.object_path import is_object
from nnray.store.files.scratch import scratch_file


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Yield a local path with the content of ``path``: itself on a disk, else a copy that is removed afterwards."""
    if not is_object(path):
        yield path
        return
    with scratch_file(path.suffix) as local:
        with os_errors(path):
            filesystem().get_file(path.key, str(local))
        yield local


def readable(path: Path) -> Path | BinaryIO:
    """Return what pandas and pyarrow can read ``path`` from: itself on a disk, else its content in memory."""
    return io.BytesIO(path.read_bytes()) if is_object(path) else path
