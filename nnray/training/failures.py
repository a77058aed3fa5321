"""Why a trial failed, as far as its exception tells."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import torch

from nnray.errors import TrialError
from nnray.store.files import is_local
from nnray.store.record import Cause

# PyTorch raises plain RuntimeErrors where memory runs out outside its caching allocator.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

_NO_ROOM_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries raise that don't hand the code on; safetensors' and PyTorch's are no OSErrors.
_NO_ROOM = ("No space left on device", "Disk quota exceeded", "File too large (os error 27)")

_AWAY = {
    errno.EIO,
    errno.EROFS,
    errno.ESTALE,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
}


def cause_of(error: BaseException, store: Path | None = None) -> Cause:
    """Return why a trial of ``store`` failed with ``error``; what it was raised from counts as well."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, TrialError) and link.diverged:
            return "diverged"
        if _is_lack_of_memory(link):
            return "out-of-memory"
        if is_lack_of_room(link):
            return "disk-full"
        if _is_loss_of_store(link, store):
            return "lost"  # nothing that the trial could help
        seen.add(id(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "error"


def _is_loss_of_store(error: BaseException, store: Path | None) -> bool:
    """Tell whether a file of the store could not be read or written since the place of the store is in trouble."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | os.PathLike):
        return False
    name = os.fspath(error.filename)
    if isinstance(error, ConnectionError):
        return "://" in name
    if store is None or not is_local(store):
        return False
    return error.errno in _AWAY and Path(name).absolute().is_relative_to(store.absolute())


def is_lack_of_room(error: BaseException) -> bool:
    """Tell whether ``error`` itself says that a disk, or somebody's share of it, is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM_CODES
    return says_no_room(str(error))


def says_no_room(text: str) -> bool:
    """Tell whether an error's text says that a disk, or somebody's share of it, is full."""
    return any(sign in text for sign in _NO_ROOM)


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text.lower() in str(error).lower() for text in _NO_MEMORY)
