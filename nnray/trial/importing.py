"""Where the modules that class paths name are found."""

from __future__ import annotations

import sys
from pathlib import Path


def make_importable(*folders: str | Path) -> None:
    """Let modules in ``folders`` be imported, those of the last folder first; a file stands for the folder it is in."""
    for folder in map(Path, folders):
        place = str((folder.parent if folder.is_file() else folder).absolute())
        if place not in sys.path:
            sys.path.insert(0, place)
