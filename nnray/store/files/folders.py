"""Folders as a whole: listed, written, moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from nnray.store.files.object_path import is_local, is_object
from nnray.store.files.removing import remove_tree
from nnray.store.files.writing import place_copy


def folder_names(folder: Path) -> frozenset[str]:
    """Return the names of the folders in ``folder``, hidden ones left out, with one listing; none if it is missing."""
    if is_object(folder):
        return frozenset(name for name in folder.folder_names() if not name.startswith("."))
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def write_folder(folder: Path, contents: Mapping[str, bytes], last: str) -> None:
    """Make ``folder`` with these files (relative names with ``/``), unless it is there already.

    On a disk it appears as a whole. In an object store the files appear one by one, the one called ``last`` behind all
    others; while that is missing, the folder counts as not written.
    """
    if is_object(folder):
        if not (folder / last).is_file():
            for name in sorted(contents, key=lambda name: name == last):
                (folder / name).write_bytes(contents[name])
        return
    if folder.exists():
        return
    beside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    try:
        for name, content in contents.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.exists():  # else another command has just written the same
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def move_folder(source: Path, target: Path, last: str) -> None:
    """Give ``source`` the name ``target``; raise OSError if ``target`` is there and not empty.

    On a disk this is one step. An object store copies file by file and then removes the old ones; the file ``last`` is
    copied last, so that where it is missing nothing was moved yet.
    """
    if is_local(source):
        source.rename(target)
        return
    files = sorted(source.rglob("*"), key=lambda path: path == source / last)
    if not files:
        raise FileNotFoundError(f"there is nothing in {source}")
    for path in files:
        place_copy(path, target / path.relative_to(source))
    remove_tree(source)
