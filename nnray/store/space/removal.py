"""Something that can go, and how it goes: each file by itself, at a moment at which nobody trains its trial."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.claim import Claim
from nnray.store.files import is_object, remove_tree
from nnray.store.links import check_links
from nnray.trial.paths import TrialPaths


@dataclass(frozen=True)
class Removal:
    """A file, or a folder, that can go.

    Attributes:
        what: What it is, in a few words: the same for all of its kind.
        path: Where it lies.
        size: Its bytes.
        trial: The trial whose claim is needed, None if it is nobody's.
        still: Asked again when it is about to go: whether it still can.
    """

    what: str
    path: Path
    size: int
    trial: TrialPaths | None = None
    still: Callable[[], bool] = lambda: True


def remove_all(
    removals: Sequence[Removal], on_removed: Callable[[Removal], None] = lambda removal: None
) -> list[Removal]:
    """Remove what can still go, in order; return it.

    A trial that somebody trains meanwhile keeps everything, and so does one that links out of the store. A kill at any
    line leaves whole files, and the rest to the next call.

    Args:
        removals: What is to go; those of one trial are best neighbours.
        on_removed: Called for each that was looked at.
    """
    removed = []
    for removal in removals:
        with _right_to(removal) as granted:
            if granted and removal.still() and _removed(removal.path):
                removed.append(removal)
        on_removed(removal)
    return removed


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if it is gone."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(size_of(entry) for entry in path.iterdir())
    except OSError:
        return 0


def existing(what: str, paths: Iterable[Path], trial: TrialPaths | None = None) -> list[Removal]:
    """Return removals of those of ``paths`` that there are."""
    return [Removal(what, path, size_of(path), trial) for path in paths if path.exists()]


@contextlib.contextmanager
def _right_to(removal: Removal) -> Iterator[bool]:
    if removal.trial is None:
        yield True
        return
    try:
        check_links(removal.trial)
    except StoreError:
        yield False
        return
    claim = Claim.acquire(removal.trial.claim)
    with claim or contextlib.nullcontext():
        yield claim is not None


def _removed(path: Path) -> bool:
    try:
        if path.is_dir() and (is_object(path) or not path.is_symlink()):
            remove_tree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return False
    return True
