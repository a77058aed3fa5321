"""The option ``--store``, the same for every command."""

from __future__ import annotations

import argparse

from nnray.store.location import DEFAULT_STORE, STORE_VARIABLE, existing_store, store_paths

__all__ = ["add_store_option", "existing_store", "store_paths"]


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--store PLACE``."""
    text = f"where results are kept: a folder or s3://bucket/folder (else ${STORE_VARIABLE}, else ./{DEFAULT_STORE})"
    parser.add_argument("--store", metavar="PLACE", help=text)
