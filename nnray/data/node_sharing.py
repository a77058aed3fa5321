"""Data sets that the processes of one command share on a node: loaded by one of them, mapped into memory by all.

A data set's file is named by its content and lies in a folder of the command's own, in shared memory where there is
room and else in the folder for temporary files, so that its pages are in memory once. Each process holds a lock on the
folder while it lives; one that nobody holds any more, however its processes ended, is removed by whoever comes next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import torch

from nnray.data.splits import LabelledImages, Splits

_PREFIX = "nnray-data-"
_SMALLEST = 4_000_000
"""Bytes; smaller data sets are loaded by each process, which costs nothing worth a file."""
_ROOM = 2_000_000_000
"""Bytes that shared memory must have free; containers are often given next to none."""

_folder: Path | None = None


def share_on_node(command: str) -> None:
    """Share data sets with the processes on this node that give the same ``command``; each gives one, once."""
    global _folder
    if _folder is not None:
        return
    remove_unused()
    with contextlib.suppress(OSError):  # no place that can be written: each process has its own then
        _folder = _joined(_root() / f"{_PREFIX}{os.getuid()}-{command}")


def remove_unused() -> None:
    """Remove what commands have shared of which no process is left on this node."""
    for folder in _shared_folders():
        with contextlib.suppress(OSError), _locked(folder / "users", fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder)


def unused() -> list[Path]:
    """Return the folders of what :func:`remove_unused` would remove."""
    found = []
    for folder in _shared_folders():
        with contextlib.suppress(OSError), _locked(folder / "users", fcntl.LOCK_EX | fcntl.LOCK_NB):
            found.append(folder)
    return found


def _shared_folders() -> list[Path]:
    roots = {Path("/dev/shm"), Path(tempfile.gettempdir())}
    return sorted(folder for root in roots for folder in root.glob(f"{_PREFIX}{os.getuid()}-*"))


def shared_splits(key: Hashable, load: Callable[[], Splits]) -> Splits:
    """Return the data set of ``key``, mapped if processes of this node share it; ``load`` is called by one of them.

    Args:
        key: What the data set depends on; its text is the same in every process.
        load: Loads the data set.
    """
    if _folder is None:
        return load()
    place = _folder / hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    try:
        if (mapped := _mapped(place)) is not None:
            return mapped
        with _locked(place.with_suffix(".lock"), fcntl.LOCK_EX):
            return _mapped(place) or _published(place, load())
    except OSError:  # the disk is full, or somebody has removed the folder
        return load()


def _root() -> Path:
    shared = Path("/dev/shm")
    fits = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > _ROOM
    return shared if fits else Path(tempfile.gettempdir())


def _joined(folder: Path) -> Path:
    """Make the folder if it is not there, and hold it as long as this process lives."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it has been removed since
            descriptor = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink:
                return folder
            os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _mapped(place: Path) -> Splits | None:
    """Return the data set that somebody has published at ``place``, None if nobody has."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    try:
        fingerprint = place.read_text()
    except FileNotFoundError:
        return None
    path = place.parent / fingerprint
    with safe_open(path, "pt") as file:
        classes = tuple(json.loads(file.metadata()["classes"]))
    tensors = load_file(path)  # maps the file
    parts = {
        name: LabelledImages(tensors[f"{name}.images"], tensors[f"{name}.labels"])
        for name in ("train", "val", "test")
        if f"{name}.images" in tensors
    }
    splits = Splits(parts["train"], parts["val"], parts.get("test"), classes)
    splits.__dict__["fingerprint"] = fingerprint  # not to be hashed again by every process
    return splits


def _published(place: Path, splits: Splits) -> Splits:
    """Write the data set for all to map, unless it is small or there is no room for it."""
    from safetensors.torch import save_file

    named = (("train", splits.train), ("val", splits.val), ("test", splits.test))
    parts = {name: part for name, part in named if part is not None}
    tensors = {
        f"{name}.{field}": tensor.contiguous()
        for name, part in parts.items()
        for field, tensor in part._asdict().items()
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size < _SMALLEST or shutil.disk_usage(place.parent).free < 2 * size:
        return splits
    tensors = {name: tensor.clone() if _is_part(tensor) else tensor for name, tensor in tensors.items()}
    path = place.parent / splits.fingerprint
    if not path.exists():  # another key may have the same content
        beside = path.with_suffix(".writing")  # a writer that was killed leaves it to the next, who replaces it
        save_file(tensors, beside, metadata={"classes": json.dumps(splits.classes)})
        beside.replace(path)
    beside = place.with_suffix(".writing")
    beside.write_text(splits.fingerprint)
    beside.replace(place)
    mapped = _mapped(place)
    assert mapped is not None
    return mapped


def _is_part(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is a view of a larger one, which safetensors refuses to save where parts overlap."""
    return tensor.untyped_storage().nbytes() != tensor.nbytes
