"""Why a trial failed, as far as its exception tells."""

from __future__ import annotations

import errno

import torch

from nnray.errors import TrialError
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


def cause_of(error: BaseException) -> Cause:
    """Return why a trial failed with ``error``; what it was raised from counts as well."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, TrialError) and link.diverged:
            return "diverged"
        if _is_lack_of_memory(link):
            return "out-of-memory"
        seen.add(id(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "error"


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text.lower() in str(error).lower() for text in _NO_MEMORY)
