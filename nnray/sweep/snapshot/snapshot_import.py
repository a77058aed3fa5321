"""Import modules from sources in memory, under the names of the files that they once came from.

Python asks a *path hook* for what finds modules in a folder of ``sys.path`` or of a package
(https://docs.python.org/3/reference/import.html#path-entry-finders). The one here serves folders whose sources are
held in memory; the order in which folders are searched stays what it was.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Mapping
from importlib.abc import PathEntryFinder, SourceLoader
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import decode_source, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType


def import_from(sources: Mapping[str, bytes]) -> None:
    """Let this process import the modules in ``sources`` (by absolute file name) from there, not from the files.

    Modules that are imported already stay as they are.
    """
    if sources:
        sys.path_hooks.insert(0, _Hook(sources))
        sys.path_importer_cache.clear()


class _Hook:
    def __init__(self, sources: Mapping[str, bytes]) -> None:
        self._sources = sources
        self._folders = {str(folder) for name in sources for folder in Path(name).parents}

    def __call__(self, folder: str) -> PathEntryFinder:
        folder = os.path.realpath(folder)
        if folder not in self._folders:
            raise ImportError(f"no sources of {folder} are held", path=folder)
        return _Finder(folder, self._sources, self._folders)


class _Finder(PathEntryFinder):
    """Finds modules in one folder; what is not held (compiled code, say) is looked for on the disk."""

    def __init__(self, folder: str, sources: Mapping[str, bytes], folders: set[str]) -> None:
        self._folder, self._sources, self._folders = folder, sources, folders
        self._on_disk = FileFinder(
            folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, SOURCE_SUFFIXES)
        )

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        place = f"{self._folder}/{fullname.rpartition('.')[2]}"
        for file, search in ((f"{place}/__init__.py", [place]), (f"{place}.py", None)):
            if file in self._sources:
                loader = _Loader(file, self._sources)
                return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=search)
        found = self._on_disk.find_spec(fullname)
        if found is None and place in self._folders:
            found = ModuleSpec(fullname, None, is_package=True)
            found.submodule_search_locations = [place]  # a part of a namespace package
        return found

    def invalidate_caches(self) -> None:
        """What is held does not change."""
        self._on_disk.invalidate_caches()


class _Loader(SourceLoader):
    def __init__(self, file: str, sources: Mapping[str, bytes]) -> None:
        self._file, self._sources = file, sources

    def get_filename(self, fullname: str) -> str:
        return self._file

    def get_data(self, path: str | bytes) -> bytes:
        name = os.fsdecode(path)
        return self._sources[name] if name in self._sources else Path(name).read_bytes()

    def get_code(self, fullname: str) -> CodeType | None:
        # Without a time of change, so that tracebacks show the lines that ran although the file may have changed.
        text = decode_source(self._sources[self._file])
        linecache.cache[self._file] = (len(text), None, text.splitlines(keepends=True), self._file)
        return self.source_to_code(self._sources[self._file], self._file)
