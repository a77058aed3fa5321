"""Which files of a folder are source code, as opposed to data, results and installed packages."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from nnray.redaction import may_hold_secrets
from nnray.store.files import on_this_machine

PYTHON = frozenset({".py", ".pyi", ".so"})
_TEXT = frozenset({".json", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".txt", ".md", ".csv", ".tsv", ".sh"})
_LARGEST_BYTES = 1 << 20
_MOST_BYTES = 64 << 20
_MOST_ENTRIES = 50_000
_DATA_FOLDER_ENTRIES = 1_000
_NEVER = frozenset({"__pycache__", "node_modules", "site-packages", "lightning_logs", "mlruns", "wandb"})


@dataclass(frozen=True)
class SourceFiles:
    """The source files of a folder, by path from it.

    Attributes:
        files: Python files and small text files.
        others: Files and whole folders that are none, each named once, at the highest level.
        complete: False where the folder is too large to have been looked through.
    """

    files: tuple[str, ...]
    others: tuple[str, ...]
    complete: bool


def source_files(root: Path, left_out: Iterable[Path] = ()) -> SourceFiles:
    """Look through ``root`` from the top down.

    Left out are hidden files and folders, folders that git ignores, virtual environments, files of more than 1 MiB,
    files whose names say that they hold secrets, and folders of very many files of which none is Python.

    Args:
        root: An existing folder.
        left_out: Folders that are results or data.
    """
    shut = {os.path.realpath(folder) for folder in on_this_machine(left_out)} | _ignored_folders(root)
    files: list[str] = []
    others: list[str] = []
    entries_seen = bytes_seen = 0
    folders = deque([""])
    while folders:
        folder = folders.popleft()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError:
            continue
        entries_seen += len(entries)
        if folder and (entries_seen > _MOST_ENTRIES or bytes_seen > _MOST_BYTES or _holds_data(entries)):
            others.append(folder)
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False) and not _is_shut(entry, shut):
                folders.append(name)
            elif _is_source(entry):
                files.append(name)
                bytes_seen += entry.stat().st_size
            else:
                others.append(name)
    return SourceFiles(tuple(files), tuple(others), entries_seen <= _MOST_ENTRIES and bytes_seen <= _MOST_BYTES)


def _holds_data(entries: list[os.DirEntry[str]]) -> bool:
    return len(entries) > _DATA_FOLDER_ENTRIES and not any(entry.name.endswith(".py") for entry in entries)


def _is_shut(entry: os.DirEntry[str], shut: set[str]) -> bool:
    return (
        entry.name.startswith(".")
        or entry.name in _NEVER
        or os.path.realpath(entry.path) in shut
        or Path(entry.path, "pyvenv.cfg").exists()
    )


def _is_source(entry: os.DirEntry[str]) -> bool:
    path = PurePath(entry.name)
    if entry.name.startswith(".") or path.suffix not in PYTHON | _TEXT or may_hold_secrets(path):
        return False
    try:
        return entry.is_file() and entry.stat().st_size <= _LARGEST_BYTES
    except OSError:
        return False


def _ignored_folders(root: Path) -> set[str]:
    """Return the folders below ``root`` that git ignores; none outside a repository."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return set()
    names = os.fsdecode(done.stdout).split("\0")
    return {os.path.realpath(root / name) for name in names if name.endswith("/")}
