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

_REPLACED = 100
"""So often may a file be replaced while it is being opened: a link that leads nowhere is listed, and never opens."""


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


def read_at_most(path: Path, size: int) -> bytes:
    """Return the first ``size`` bytes of ``path``, all of one version of it."""
    if is_object(path):
        with os_errors(path):  # an open file of s3fs raises where the object was replaced after the opening
            return bytes(filesystem().cat_file(path.key, start=0, end=size))
    with _opened(path) as file:
        return file.read(size)


def read_bytes(path: Path) -> bytes:
    """Return the content of ``path``, all of one version of it."""
    if is_object(path):
        return path.read_bytes()
    with _opened(path) as file:
        return file.read()


def _opened(path: Path) -> BinaryIO:
    """Open a file that another process may be replacing just now.

    Some file systems in user space (those that libfuse hands paths to, such as bindfs) look a name up and open
    what they found in two steps: of a file that is replaced in between, they say that there is none. The names in its
    folder tell better.
    """
    for _ in range(_REPLACED):
        try:
            return path.open("rb")
        except FileNotFoundError:
            if not _is_listed(path):
                raise
    return path.open("rb")


def _is_listed(path: Path) -> bool:
    try:
        return path in path.parent.iterdir()
    except OSError:
        return False
