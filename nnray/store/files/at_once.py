"""Work on many files of a bucket, where each request takes its time: one listing for all, and several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.object_path import is_local, is_object
from nnray.store.files.overview import Facts, Overview, current

_AT_A_TIME = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def seen_at_once(folder: Path) -> Iterator[None]:
    """Let it be told by one listing, as of the beginning of the block, which files there are below ``folder``.

    That is names, sizes and times; contents are read as they are then. It is for work that only looks: what is written
    in the block is not seen there. On a disk, nothing is different.
    """
    if not is_object(folder):
        yield
        return
    with os_errors(folder):
        found = filesystem().find(folder.key, detail=True)
    token = current.set(Overview(folder.key, {key: Facts.of(facts) for key, facts in found.items()}))
    try:
        yield
    finally:
        current.reset(token)


def at_a_time(folder: Path, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what ``work`` returns for each of ``items``, in order; for a bucket, in threads, several at a time."""
    if is_local(folder):
        yield from map(work, items)
        return
    context = copy_context()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield from pool.map(lambda item: context.copy().run(work, item), items)
