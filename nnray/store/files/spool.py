"""Files that grow while a process runs: they are written here, and put to an object store now and then."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files.object_path import is_local, is_object
from nnray.store.files.scratch import scratch_file
from nnray.store.files.writing import Fence, put_file, unfenced


class Spool:
    """A file that a process appends to.

    Args:
        path: Where it is kept.
        local: Where it is written: ``path`` itself, or a file of this machine.
        fence: Raises if this process may no longer put it where it is kept.
    """

    def __init__(self, path: Path, local: Path, fence: Fence = unfenced) -> None:
        self._path, self.local, self._fence = path, local, fence
        self._published = -1

    def publish(self) -> None:
        """Put what was written so far where it is kept; a file on a disk is there already."""
        if not is_object(self._path) or not self.local.exists():
            return
        if (size := self.local.stat().st_size) != self._published:
            put_file(self.local, self._path, self._fence)
            self._published = size


@contextmanager
def spooled(path: Path, fence: Fence = unfenced) -> Iterator[Spool]:
    """Yield where to append to ``path``; what was written is kept at the end, if that can be.

    Args:
        path: The file.
        fence: Raises if this process may no longer write to it.
    """
    if is_local(path):
        yield Spool(path, path)
        return
    with scratch_file(path.suffix) as local:
        with contextlib.suppress(FileNotFoundError):
            local.write_bytes(path.read_bytes())
        spool = Spool(path, local, fence)
        try:
            yield spool
        finally:
            with contextlib.suppress(OSError, StoreError):
                spool.publish()


def local_twin(path: Path) -> Path:
    """Return where this machine keeps what a dying process can still write: ``path`` itself, or a file of its own.

    It is the same for all processes of this machine, so that the next one finds what the dead one left.
    """
    if is_local(path):
        return path
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"nnray-twin-{name}-{path.name}"
