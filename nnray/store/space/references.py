"""Which checkpoints analyses were made of: a list in the folder of each analysis, written before it begins.

A line of ``networks.txt`` is a trial's signature and an epoch. Folders without one, of an earlier version, tell by the
names of their parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nnray.store.files import write_text
from nnray.trial.paths import StorePaths

Reference = tuple[str, int]
"""A trial's short signature, and an epoch."""

_PART = re.compile(r"([0-9a-f]{16})-epoch=(\d+)")


def note_references(folder: Path, networks: Iterable[Reference]) -> None:
    """Note in an analysis's folder that it is being made of ``networks``; those it had before stay."""
    path = folder / "networks.txt"
    before = _noted(path)
    every = before | set(networks)
    if every != before:
        write_text(path, "".join(f"{trial} {epoch}\n" for trial, epoch in sorted(every)))


def referenced(store: StorePaths) -> set[Reference]:
    """Return the checkpoints that the analyses in a store were made of."""
    found: set[Reference] = set()
    folders = [folder for folder in store.analysis.iterdir() if folder.is_dir()] if store.analysis.is_dir() else []
    for folder in folders:
        found |= _noted(folder / "networks.txt") or _told_by_parts(folder)
    return found


def _noted(path: Path) -> set[Reference]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return set()
    pairs = (line.split() for line in lines)
    return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _told_by_parts(folder: Path) -> set[Reference]:
    kinds = [kind for kind in folder.iterdir() if kind.is_dir()]
    names = (part.name for kind in kinds for part in kind.iterdir())
    return {(trial, int(epoch)) for name in names for trial, epoch in _PART.findall(name)}
