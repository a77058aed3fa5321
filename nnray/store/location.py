"""Which folder is the store: what is said, else ``$NNRAY_STORE``, else ``./nnray-store``."""

from __future__ import annotations

import os
from pathlib import Path

from nnray.errors import StoreError
from nnray.trial.paths import StorePaths

DEFAULT_STORE = "nnray-store"
STORE_VARIABLE = "NNRAY_STORE"


def store_paths(store: str | Path | None = None) -> StorePaths:
    """Return the paths of the store that ``store``, ``$NNRAY_STORE`` or the default names; it need not exist yet."""
    place = str(store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
    if "://" in place:
        raise StoreError(f"{place}: only folders can be stores so far (a local disk or a shared one such as NFS)")
    return StorePaths(Path(os.path.normpath(Path(place).expanduser().absolute())))


def existing_store(store: str | Path | None = None) -> StorePaths:
    """Return the paths of a store as :func:`store_paths` does; raise StoreError if there is none."""
    paths = store_paths(store)
    if not paths.root.is_dir():
        raise StoreError(f"there is no store at {paths.root}; name one by its folder (--store, ${STORE_VARIABLE})")
    if not paths.trials.is_dir() and not paths.tables.is_dir():
        raise StoreError(f"{paths.root} is not a store: it has neither trials nor tables")
    return paths
