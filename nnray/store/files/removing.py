"""Removing files and folders."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.object_path import is_object


def remove(path: Path) -> None:
    """Remove the file at ``path``, if there is one."""
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` with everything in it, if there is one."""
    if is_object(folder):
        with contextlib.suppress(FileNotFoundError), os_errors(folder):
            filesystem().rm(folder.key, recursive=True)
        return
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove what a killed process left half written in ``folder``; an object store never holds half an object.

    With ``older_than_s`` (seconds) it needs no lock that keeps other writers out: what they are writing is younger.
    """
    if is_object(folder):
        return
    for leftover in (*folder.glob(".*.part*"), *folder.glob(".tmp*")):  # of SQLite its journals, too; of safetensors
        with contextlib.suppress(FileNotFoundError):
            if older_than_s <= 0 or time.time() - leftover.stat().st_mtime > older_than_s:
                leftover.unlink()
