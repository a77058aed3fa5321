"""A network's arrays, as long as they are being written: a kill costs the last few seconds, not the network.

They grow in a hidden folder beside the one that they become, which its writer has claimed. What was written is noted in
``progress.json``, and only once it is on the disk. The next worker that comes for the network takes over a folder that
nobody holds and goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np

from analysis.jobs.folder import UNFINISHED
from nnray.errors import AnalysisError
from nnray.store.claim import Claim, forget_claim
from nnray.store.files import write_text

LAYERS = "layers.json"
"""Names of layers, in the order of their files' numbers."""
LEFT_OUT = "left_out.json"
"""Layers that have no file, with the reason; not there where every layer has one."""
_PROGRESS, _CLAIM = "progress.json", "claim"
_NOTED_EVERY_S = 5.0
"""What a kill can cost; to note progress waits for the disk."""


class GrowingArrays:
    """An array per layer, of which ``done`` rows are on the disk."""

    def __init__(self, folder: Path, samples: int) -> None:
        self._folder, self._samples = folder, samples
        self._arrays: dict[str, _Array] = {}
        self._noted = time.monotonic()
        self.done = 0
        """How many rows are there, of all layers."""
        self.left_out: dict[str, str] = {}
        """Layers that get no further rows and no file in the end, with the reason."""
        try:
            progress = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
            for place, layer in enumerate(progress["layers"]):
                path = folder / f"{place}.npy"
                array = np.lib.format.open_memmap(path, "r+")
                if len(array) != samples:
                    raise ValueError(f"{len(array)} rows")
                self._arrays[layer] = _Array(path, array)
            self.left_out = dict(progress.get("left out", {}))
            self.done = min(int(progress["rows"]), samples)
        except (OSError, ValueError, KeyError, TypeError):  # not begun, or damaged
            self.close()
            self._arrays, self.left_out = {}, {}

    def write(self, rows: Mapping[str, np.ndarray], count: int) -> None:
        """Append rows, ``(count, ...)``, to each layer that is not left out.

        Raises:
            AnalysisError: If rows are not shaped as those before.
        """
        for layer, values in rows.items():
            if layer not in self._arrays:
                path = self._folder / f"{len(self._arrays)}.npy"
                shape = (self._samples, *values.shape[1:])
                self._arrays[layer] = _Array(path, np.lib.format.open_memmap(path, "w+", values.dtype, shape))
            self._arrays[layer].write(self.done, values)
        self.done += count
        if time.monotonic() - self._noted > _NOTED_EVERY_S and self.done < self._samples:
            self._flush()
            progress = {"layers": list(self._arrays), "rows": self.done, "left out": self.left_out}
            write_text(self._folder / _PROGRESS, json.dumps(progress))
            self._noted = time.monotonic()

    def finish(self) -> None:
        """Bring everything to the disk, and say which layer each file is."""
        for layer in self.left_out:
            if layer in self._arrays:
                self._arrays.pop(layer).remove()
        for place, array in enumerate(self._arrays.values()):
            array.call(self._folder / f"{place}.npy")
        self._flush()
        (self._folder / LAYERS).write_text(json.dumps(list(self._arrays)), encoding="utf-8")
        if self.left_out:
            (self._folder / LEFT_OUT).write_text(json.dumps(self.left_out), encoding="utf-8")
        (self._folder / _PROGRESS).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        for array in self._arrays.values():
            array.close()

    def _flush(self) -> None:
        for array in self._arrays.values():
            array.flush()


class _Array:
    """The file of an array, which is written: through a mapping, every 4 KiB would take a page fault."""

    def __init__(self, path: Path, array: np.memmap) -> None:
        self._path = path
        self._shape, self._dtype, self._start = array.shape[1:], array.dtype, array.offset
        self._file = path.open("r+b")

    def write(self, row: int, values: np.ndarray) -> None:
        if (values.shape[1:], values.dtype) != (self._shape, self._dtype):
            raise AnalysisError(
                f"a layer has {self._shape} values of {self._dtype} for an image of one minibatch, and "
                f"{values.shape[1:]} of {values.dtype} for one of another"
            )
        self._file.seek(self._start + row * math.prod(self._shape) * self._dtype.itemsize)
        self._file.write(np.ascontiguousarray(values).data)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def call(self, path: Path) -> None:
        if path != self._path:
            self._path = self._path.rename(path)

    def remove(self) -> None:
        self.close()
        self._path.unlink()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk, which has been told of
            self._file.close()


@contextlib.contextmanager
def growing_arrays(place: Path, samples: int) -> Iterator[GrowingArrays]:
    """Give arrays to be filled, with what a killed worker has left of them; in the end their folder becomes ``place``.

    Args:
        place: The folder of a network's arrays. If another command is faster, its arrays stay.
        samples: Rows of each array.

    Raises:
        AnalysisError: If the folder cannot be written.
    """
    beside, claim = _taken_over(place) or _begun(place)
    arrays = GrowingArrays(beside, samples)
    try:
        yield arrays
        arrays.finish()
        with contextlib.suppress(OSError):  # another command with the same job was faster
            beside.rename(place)
            claim.moved(place / _CLAIM)
            forget_claim(place / _CLAIM)
        if not place.is_dir():
            raise AnalysisError(f"{place} cannot be written")
    except Exception:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    finally:
        arrays.close()
        claim.release()
    shutil.rmtree(beside, ignore_errors=True)


def _taken_over(place: Path) -> tuple[Path, Claim] | None:
    """Return a folder that a dead worker has left, claimed."""
    for left in place.parent.glob(f".{place.name}.*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):  # it has just become whole
            claim = Claim.acquire(left / _CLAIM)
            if claim is not None and left.is_dir():
                return left, claim
    return None


def _begun(place: Path) -> tuple[Path, Claim]:
    beside = place.with_name(f".{place.name}.{uuid4().hex[:8]}{UNFINISHED}")
    beside.mkdir()
    claim = Claim.acquire(beside / _CLAIM)
    if claim is None:
        raise AnalysisError(f"{beside} was claimed by another process before this one had")
    return beside, claim
