"""The files of a store, wherever it lies: everything that differs between a disk and an object store is in here.

A path is a :class:`pathlib.Path`, or an :class:`ObjectPath` for an object in a bucket. That one answers to the same
methods, is annotated as ``Path`` throughout, and is no ``os.PathLike``: what needs a real file asks for one with
:func:`replacing` (to write) or :func:`local_file` (to read).
"""

from __future__ import annotations

from nnray.store.files.at_once import at_a_time, seen_at_once
from nnray.store.files.clock import modified, store_clock
from nnray.store.files.folders import folder_names, move_folder, write_folder
from nnray.store.files.object_path import ObjectPath, is_local, is_object
from nnray.store.files.places import check_exclusive, check_reachable, on_this_machine, path_of, shown
from nnray.store.files.ranges import read_ranges
from nnray.store.files.reading import local_file, read_at_most, read_bytes, readable
from nnray.store.files.removing import remove, remove_leftovers, remove_tree
from nnray.store.files.spool import Spool, local_twin, spooled
from nnray.store.files.writing import (
    Fence,
    append,
    create,
    place_copy,
    replacing,
    unfenced,
    write_bytes,
    write_text,
    writing_once,
)

__all__ = [
    "Fence",
    "ObjectPath",
    "Spool",
    "append",
    "at_a_time",
    "check_exclusive",
    "check_reachable",
    "create",
    "folder_names",
    "is_local",
    "is_object",
    "local_file",
    "local_twin",
    "modified",
    "move_folder",
    "on_this_machine",
    "path_of",
    "place_copy",
    "read_at_most",
    "read_bytes",
    "read_ranges",
    "readable",
    "remove",
    "remove_leftovers",
    "remove_tree",
    "replacing",
    "seen_at_once",
    "shown",
    "spooled",
    "store_clock",
    "unfenced",
    "write_bytes",
    "write_folder",
    "write_text",
    "writing_once",
]
