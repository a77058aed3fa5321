"""The data sets that this process holds in memory, so that a worker loads each of them once for all its trials."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

from nnray.data.node_sharing import shared_splits
from nnray.data.splits import Splits

# Two, so that a data set can lie on the CPU and on the GPU, or two data sets can take turns.
_CAPACITY = 2

_cached: OrderedDict[tuple[Hashable, torch.device], Splits] = OrderedDict()
_lock = threading.Lock()


def cached_splits(key: Hashable, device: torch.device, load: Callable[[], Splits]) -> Splits:
    """Return the data set of ``key`` on ``device``; call ``load`` only if it is on no device yet.

    The two data sets that were used last are kept. If ``load`` raises, nothing is kept.
    """
    with _lock:
        if (key, device) not in _cached:
            elsewhere = (splits for (other, _), splits in _cached.items() if other == key)
            splits = next(elsewhere, None) or shared_splits(key, load)
            _cached[key, device] = splits.to(device)
            while len(_cached) > _CAPACITY:
                _cached.popitem(last=False)
        _cached.move_to_end((key, device))
        return _cached[key, device]


def clear_cache() -> None:
    """Forget every data set that this process holds; those in use live on until their data modules are gone."""
    with _lock:
        _cached.clear()
