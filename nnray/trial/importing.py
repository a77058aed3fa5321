"""Where the modules that class paths name are found."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path


def make_importable(*folders: str | Path) -> None:
    """Let modules in ``folders`` be imported, those of the last folder first; a file stands for the folder it is in."""
    for folder in map(Path, folders):
        place = str((folder.parent if folder.is_file() else folder).absolute())
        if place not in sys.path:
            sys.path.insert(0, place)


def file_specification(name: str, path: Path) -> ModuleSpec:
    """Return what imports ``path`` as the module ``name``, from its text as it is now.

    Python's cached bytecode is passed by: it is taken for that of a file which has been edited within the same second
    to a text of the same length.
    """
    specification = importlib.util.spec_from_file_location(
        name, path.absolute(), loader=_FromText(name, str(path.absolute()))
    )
    assert specification is not None
    return specification


class _FromText(SourceFileLoader):
    def path_stats(self, path: str) -> dict[str, object]:
        """Tell nothing by which cached bytecode could be found, or written."""
        raise OSError
