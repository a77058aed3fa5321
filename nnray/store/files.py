"""Files that are whole or absent: written beside, flushed to disk, then renamed over the old one."""

from __future__ import annotations

import os
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


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written in ``folder``."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
