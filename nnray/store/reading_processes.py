"""Reads many trial folders in several processes: reading is parsing, of which one process does one at a time."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from nnray.store.listed_trial import ListedTrial
from nnray.store.listing_file import pack, unpack
from nnray.store.reading import read_folder, stamp_of
from nnray.trial.paths import StorePaths

_BATCH = 64
"""Folders that a process reads before it hands them on."""
_WORTH_A_PROCESS = 1000


def reading_processes(folders: int) -> int:
    """Return how many processes read so many folders: one is started in the time in which a thousand are read."""
    return max(1, min(os.cpu_count() or 1, folders // _WORTH_A_PROCESS))


def read_in_processes(
    store: StorePaths, sweep: str, signatures: Sequence[str], processes: int
) -> Iterator[tuple[list[ListedTrial], dict[str, str]]]:
    """Yield the listed trials among ``signatures`` in batches, and why the damaged ones cannot be read."""
    batches = [signatures[start : start + _BATCH] for start in range(0, len(signatures), _BATCH)]
    if not batches:
        return
    # A fork would copy the locks of threads that are at work, those of MLflow's among them.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(batches)), context) as pool:
        for content, damaged in pool.map(_read_batch, itertools.repeat(store), itertools.repeat(sweep), batches):
            trials = unpack(content, store, sweep)
            for trial in trials:  # which come in no order: those of a batch end up in many blocks of tables
                trial.metrics.rows.part()
            yield trials, damaged


def _read_batch(store: StorePaths, sweep: str, signatures: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    entries, damaged = [], {}
    for signature in signatures:
        paths = store.trial(signature)
        entry, reason = read_folder(paths, sweep, stamp_of(paths, sweep))
        if entry is not None:
            entries.append(entry)
        if reason is not None:
            damaged[signature] = reason
    return pack(entries), damaged
