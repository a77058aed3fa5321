"""What is kept: a folder per trial, which is the truth, and the views of it: Parquet tables and MLflow.

The views' modules load when they are first used, since they need pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nnray.store.location import existing_store, store_paths
from nnray.store.membership import Membership, members, sweeps_of
from nnray.store.record import Record, Status
from nnray.store.stored_trial import StoredTrial

if TYPE_CHECKING:
    from nnray.store.bookkeeper import Bookkeeper, BooksReport
    from nnray.store.bookkeeper_process import BookkeeperProcess
    from nnray.store.store import Store, open  # noqa: A004 - called as nnray.open

__all__ = [
    "Bookkeeper",
    "BookkeeperProcess",
    "BooksReport",
    "Membership",
    "Record",
    "Status",
    "Store",
    "StoredTrial",
    "existing_store",
    "members",
    "open",
    "store_paths",
    "sweeps_of",
]

_LATE = {
    "Bookkeeper": "nnray.store.bookkeeper",
    "BookkeeperProcess": "nnray.store.bookkeeper_process",
    "BooksReport": "nnray.store.bookkeeper",
    "Store": "nnray.store.store",
    "open": "nnray.store.store",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
