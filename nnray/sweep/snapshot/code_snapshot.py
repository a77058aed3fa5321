"""A person's modules as they were when a command started: every worker imports those, whatever is edited meanwhile.

The source files of the folders that modules are found in, other than installed packages, are packed once. The archive
goes to the workers with the trials, on this host and on others, so that also a worker that is started late, on a node
that joined late, runs the same code. Where a folder can be seen from a worker, its modules are imported under their own
file names, so that tracebacks name the files a person edits and data beside a module is found; where it cannot, the
archive is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from nnray.errors import StoreError
from nnray.sweep.snapshot.snapshot_import import import_from
from nnray.sweep.snapshot.source_files import PYTHON, source_files

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD = os.path.realpath(sysconfig.get_path("stdlib"))
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class CodeSnapshot:
    """Packed modules; small enough to be sent to every worker.

    Attributes:
        archive: A zip file of the sources, those of each root under its number.
        digest: A hash of it.
        path: Where the command finds modules.
        roots: The folders of ``path`` whose sources are packed, none inside another.
        uncovered: Roots too large to be packed whole; what is missing is imported as it is when it comes to that.
    """

    archive: bytes
    digest: str
    path: tuple[str, ...]
    roots: tuple[str, ...]
    uncovered: tuple[str, ...]

    @classmethod
    def take(cls, path: Sequence[str], left_out: Iterable[Path] = ()) -> CodeSnapshot:
        """Pack the modules that are found in the folders of ``path`` (a ``sys.path``) and are not installed packages.

        Args:
            path: Where modules are found.
            left_out: Folders of results and data.
        """
        path = tuple(map(os.path.realpath, path))
        folders = [folder for folder in dict.fromkeys(path) if _is_a_persons(folder)]
        roots = tuple(folder for folder in folders if not any(_inside(folder, other) for other in folders))
        left_out = tuple(left_out)
        uncovered = []
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, root in enumerate(roots):
                found = source_files(Path(root), left_out)
                for name in _in_packages(found.files):
                    _pack(archive, Path(root, name), f"{number}/{name}")
                if not found.complete:
                    uncovered.append(root)
        packed = buffer.getvalue()
        return cls(packed, hashlib.sha256(packed).hexdigest()[:32], path, roots, tuple(uncovered))

    def activate(self) -> None:
        """Let this process find modules where the command finds them, and import them as they were.

        Raises:
            StoreError: If the archive has to be unpacked, and the folder for it is somebody else's.
        """
        sources: dict[str, bytes] = {}
        moved: dict[str, str] = {}
        for number, root in enumerate(self.roots):
            if Path(root).is_dir():
                sources.update(self._sources(number))
            else:
                moved[root] = str(self._unpack() / str(number))
        import_from(sources)
        path = [_moved(entry, moved) for entry in self.path]
        new = [entry not in sys.path for entry in path]
        library = path.index(_STANDARD) if _STANDARD in path else len(path)
        sys.path[:0] = [entry for entry, is_new in zip(path[:library], new, strict=False) if is_new]
        sys.path += [entry for entry, is_new in zip(path[library:], new[library:], strict=True) if is_new]

    def _sources(self, number: int) -> dict[str, bytes]:
        """Return the Python files of a root by their names on the host of the command."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return {
                f"{self.roots[number]}/{name.partition('/')[2]}": archive.read(name)
                for name in archive.namelist()
                if name.startswith(f"{number}/") and name.endswith(".py")
            }

    def _unpack(self) -> Path:
        """Write the files where all processes of this host share them, as far as they are not there; return where."""
        folder = _own_folder() / self.digest
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            for entry in archive.infolist():
                _restore(folder / entry.filename, entry, archive)
        return folder


def _is_a_persons(folder: str) -> bool:
    return (
        Path(folder).is_dir()
        and not _INSTALLED & set(PurePath(folder).parts)
        and not PurePath(folder).is_relative_to(_STANDARD)
    )


def _inside(folder: str, other: str) -> bool:
    return folder != other and PurePath(folder).is_relative_to(other)


def _moved(entry: str, roots: dict[str, str]) -> str:
    for root, place in roots.items():
        if PurePath(entry).is_relative_to(root):
            return str(PurePath(place, PurePath(entry).relative_to(root)))
    return entry


def _in_packages(names: Iterable[str]) -> list[str]:
    """Return the files in folders that Python files are in or below; the others are data, not code."""
    names = list(names)
    leading = {PurePath()}
    for name in names:
        if PurePath(name).suffix in PYTHON:
            leading.update(PurePath(name).parents)
    return [name for name in names if PurePath(name).parent in leading]


def _pack(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError:  # gone, or not ours to read: importing it would fail as well
        return
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (mode & 0o777) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _own_folder() -> Path:
    """Return a folder of this host that nobody else can put code in."""
    folder = Path(tempfile.gettempdir(), f"nnray-code-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise StoreError(f"{folder} is not this user's alone, so code cannot be unpacked there: remove it")
    return folder


def _restore(path: Path, entry: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
    """Write a file unless it is there; several workers may do so at once, and cleaners of /tmp may have been there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(archive.read(entry))
    beside = Path(file.name)
    beside.chmod(entry.external_attr >> 16)
    beside.replace(path)
