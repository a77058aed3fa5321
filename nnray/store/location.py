"""Which place is the store: what is said, else ``$NNRAY_STORE``, else ``./nnray-store``."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import check_reachable, is_local, path_of
from nnray.store.format import read_format
from nnray.trial.paths import StorePaths

DEFAULT_STORE = "nnray-store"
STORE_VARIABLE = "NNRAY_STORE"


def store_paths(store: str | Path | None = None) -> StorePaths:
    """Return the paths of the store that ``store``, ``$NNRAY_STORE`` or the default names; it need not exist yet.

    Raises:
        StoreError: If it is named by a URI that cannot be one of a store, or whose library is not installed.
    """
    root = path_of(str(store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE))
    if is_local(root):
        root = Path(os.path.normpath(root.expanduser().absolute()))
    elif importlib.util.find_spec("s3fs") is None:
        raise StoreError(f"a store at {root} needs s3fs: pip install 'nnray[s3]'")
    return StorePaths(root)


def existing_store(store: str | Path | None = None) -> StorePaths:
    """Return the paths of a store as :func:`store_paths` does; raise StoreError if there is none."""
    paths = store_paths(store)
    check_reachable(paths.root)
    if not paths.root.is_dir():
        kind = "folder" if is_local(paths.root) else "URI"
        raise StoreError(f"there is no store at {paths.root}; name one by its {kind} (--store, ${STORE_VARIABLE})")
    if not paths.trials.is_dir() and not paths.tables.is_dir():
        raise StoreError(f"{paths.root} is not a store: it has neither trials nor tables")
    read_format(paths.root)
    return paths
