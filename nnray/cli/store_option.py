"""The option ``--store``, the same for every command."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnray.errors import StoreError
from nnray.trial.paths import StorePaths

DEFAULT_STORE = "nnray-store"


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--store FOLDER``."""
    parser.add_argument("--store", metavar="FOLDER", help=f"where results are kept (else $NNRAY_STORE, else ./{DEFAULT_STORE})")


def store_paths(store: str | Path | None) -> StorePaths:
    """Return the store that ``--store``, ``$NNRAY_STORE`` or the default names; it need not exist yet."""
    place = str(store or os.environ.get("NNRAY_STORE") or DEFAULT_STORE)
    if "://" in place:
        raise StoreError(f"{place}: only folders can be stores so far (a local disk or a shared one such as NFS)")
    return StorePaths(Path(place).expanduser().absolute())
