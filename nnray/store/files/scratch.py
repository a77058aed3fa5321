"""Local files on their way to or from an object store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

_PREFIX = "nnray-object"


@contextmanager
def scratch_file(suffix: str = "") -> Iterator[Path]:
    """Yield the path of a local file that is not there yet, and is removed at the end."""
    folder = Path(tempfile.gettempdir())
    _remove_orphans(folder)
    path = folder / f"{_PREFIX}-{os.getpid()}-{uuid4().hex[:12]}{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@cache
def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes of this user left here; once per process."""
    for path in folder.glob(f"{_PREFIX}-*"):
        pid = path.name.removeprefix(f"{_PREFIX}-").split("-")[0]
        with suppress(OSError):
            if path.stat().st_uid == os.getuid() and not _lives(int(pid) if pid.isdecimal() else 0):
                path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
