"""Files that are whole or absent: written beside, flushed to disk, then renamed over the old one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; what stands there afterwards replaces ``path`` in one step.

    The name beside begins with a dot, so that tools which read whole folders pass it over. On an exception it is
    removed and ``path`` stays as it was.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` with ``text`` (UTF-8) in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove what a killed process left half written in ``folder``.

    With ``older_than_s`` (seconds) it needs no lock that keeps other writers out: what they are writing is younger.
    """
    for leftover in folder.glob(".*.part*"):  # SQLite writes a journal beside its file
        with contextlib.suppress(FileNotFoundError):
            if older_than_s <= 0 or time.time() - leftover.stat().st_mtime > older_than_s:
                leftover.unlink()
