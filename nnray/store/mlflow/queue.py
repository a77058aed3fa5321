"""What MLflow still misses, on disk: it survives the command that could not deliver it.

The folders of a store tell everything that MLflow is to hold, and a digest in each run tells whether it holds it, so
comparing all of them would find what is missing, at the price of reading every folder of every sweep. The queue is
what spares that: the signatures of the trials that changed and are not delivered yet, so that any command on the store
can make up for what all the others left behind. It holds names alone; what a run is to say is read from the trial's
folder at the moment of sending, which is why a signature that stands here twice, or once too often, does no harm.

It is a folder of small files that are written once, read and removed, and never changed, so that many processes can
add to it without a lock, on any file system::

    mlflow-queue/<place>/<sweep>/<time>-<random>.txt      signatures, one per line

Whoever sends lists the files, *then* reads the trials, and removes the files once MLflow has what the folders said: a
trial that changes meanwhile is in a file that came later. Where a process dies in between, the files are still there.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from nnray.errors import StoreError
from nnray.store.files import write_text
from nnray.trial.paths import StorePaths, check_sweep_name

_SIGNATURES_PER_FILE = 20
_FILES_TO_MERGE = 50
"""More files than that are written together before they are read one by one."""

_SIGNATURE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class QueuedTrials:
    """Trials of one sweep that wait, and the files that say so."""

    sweep: str
    signatures: tuple[str, ...]
    files: tuple[Path, ...]


class MirrorQueue:
    """The trials that one place still misses, by sweep.

    Args:
        store: The store.
        place: The name of the place's folder.
    """

    def __init__(self, store: StorePaths, place: str) -> None:
        self.folder = store.mlflow_queue(place)

    def put(self, sweep: str, signatures: Iterable[str]) -> None:
        """Add trials of ``sweep``; they are on disk when this returns."""
        folder = self.folder / sweep
        folder.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(signatures))
        for start in range(0, len(names), _SIGNATURES_PER_FILE):
            path = folder / f"{time.time_ns():020d}-{uuid4().hex[:8]}.txt"
            write_text(path, "".join(f"{name}\n" for name in names[start : start + _SIGNATURES_PER_FILE]))

    def sweeps(self) -> list[str]:
        """Return the sweeps that were ever mirrored to the place, in order."""
        with contextlib.suppress(OSError):
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and _is_sweep(path.name))
        return []

    def waiting(self, sweep: str) -> set[str]:
        """Return the signatures of the trials of ``sweep`` that wait."""
        return {signature for path in self._files(sweep) for signature in _read(path)}

    def batches(self, sweep: str, size: int) -> Iterator[QueuedTrials]:
        """Yield what waits at this moment, the oldest first, at most about ``size`` trials at a time."""
        files = self._merged(sweep)
        group: list[Path] = []
        signatures: dict[str, None] = {}
        for path in files:
            found = _read(path)
            if group and len(signatures) + len(found) > size:
                yield QueuedTrials(sweep, tuple(signatures), tuple(group))
                group, signatures = [], {}
            group.append(path)
            signatures |= dict.fromkeys(found)
        if group:
            yield QueuedTrials(sweep, tuple(signatures), tuple(group))

    def settle(self, batch: QueuedTrials, left: Collection[str]) -> None:
        """Take ``batch`` off the queue; those of its trials that are in ``left`` wait again, behind all others."""
        self.put(batch.sweep, [signature for signature in batch.signatures if signature in left])
        for path in batch.files:
            path.unlink(missing_ok=True)

    def _files(self, sweep: str) -> list[Path]:
        return sorted((self.folder / sweep).glob("[0-9]*.txt"))

    def _merged(self, sweep: str) -> list[Path]:
        """Return the files, of which there are few: while a server is away, a sweep adds one every second."""
        files = self._files(sweep)
        if len(files) > _FILES_TO_MERGE:
            signatures = dict.fromkeys(signature for path in files for signature in _read(path))
            if len(files) > 2 * len(signatures) / _SIGNATURES_PER_FILE + 2:
                self.settle(QueuedTrials(sweep, tuple(signatures), tuple(files)), signatures)
                files = self._files(sweep)
        return files


def _read(path: Path) -> list[str]:
    """Return the signatures in a file; none if it is gone, and no lines that are none."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if _SIGNATURE.fullmatch(line)]


def _is_sweep(name: str) -> bool:
    try:
        check_sweep_name(name)
    except StoreError:
        return False
    return True
