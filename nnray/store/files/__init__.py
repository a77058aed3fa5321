"""The files of a store, wherever it lies: everything that differs between a disk and an object store is in here.

A path is a :class:`pathlib.Path`, or an :class:`ObjectPath` for an object in a bucket. That one answers to the same
methods, is annotated as ``Path`` throughout, and is no ``os.PathLike``: what needs a real file asks for one with
:func:`replacing` (to write) or :func:`local_file` (to read).
"""

from __future__ import annotations

from nnray.store.files.clock import modified, store_clock
from nnray.store.files.object_path import ObjectPath, is_object
from nnray.store.files.reading import local_file, readable
from nnray.store.files.removing import remove, remove_leftovers, remove_tree
from nnray.store.files.writing import append, create, place_copy, replacing, write_bytes, write_text

__all__ = [
    "ObjectPath",
    "append",
    "create",
    "is_object",
    "local_file",
    "modified",
    "place_copy",
    "readable",
    "remove",
    "remove_leftovers",
    "remove_tree",
    "replacing",
    "store_clock",
    "write_bytes",
    "write_text",
]
