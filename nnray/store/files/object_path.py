"""The path of an object in a bucket, with the methods of :class:`pathlib.Path` that a store uses.

An object store has no folders and no renames: a folder "exists" while there are objects below it, ``mkdir`` does
nothing, and an object is only ever replaced as a whole, by one request. Every error is an OSError that names the
object.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeGuard

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.overview import Facts, overview_of

SCHEME = "s3://"


@dataclass(frozen=True)
class ObjectStat:
    """What is known of an object, under the names of ``os.stat_result``.

    Attributes:
        st_size: Bytes.
        st_mtime: When it was put, in seconds since 1970 by the clock of the object store, which tells whole seconds.
        st_ino: A number that changes with the content; for a folder, with the names and contents in it.
    """

    st_size: int
    st_mtime: float
    st_ino: int

    @property
    def st_mtime_ns(self) -> int:
        """``st_mtime`` in nanoseconds."""
        return int(self.st_mtime * 1e9)


class ObjectPath:
    """An object, or the common beginning of the names of objects (a "folder"), in a bucket.

    Args:
        uri: ``s3://bucket/key``.
    """

    __slots__ = ("_path",)

    def __init__(self, uri: str) -> None:
        self._path = PurePosixPath(uri.removeprefix(SCHEME))

    @classmethod
    def _of(cls, path: PurePosixPath) -> ObjectPath:
        result = cls.__new__(cls)
        result._path = path
        return result

    # -- names, which need no request --

    @property
    def key(self) -> str:
        """``bucket/key``, as fsspec calls the object."""
        return str(self._path)

    @property
    def place(self) -> dict[str, str]:
        """Bucket and key, under the names that S3's requests have for them."""
        bucket, _, key = self.key.partition("/")
        return {"Bucket": bucket, "Key": key}

    @property
    def name(self) -> str:
        """The last part."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The last part's suffix."""
        return self._path.suffix

    @property
    def parent(self) -> ObjectPath:
        """The folder that it lies in."""
        return self._of(self._path.parent)

    @property
    def parents(self) -> tuple[ObjectPath, ...]:
        """The folders that it lies in, up to the bucket."""
        return tuple(self._of(path) for path in self._path.parents if path.name)

    def with_name(self, name: str) -> ObjectPath:
        """Return the path with another last part."""
        return self._of(self._path.with_name(name))

    def with_suffix(self, suffix: str) -> ObjectPath:
        """Return the path with another suffix."""
        return self._of(self._path.with_suffix(suffix))

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """Return the path from ``other`` to here; raise ValueError if it isn't below ``other``."""
        return self._path.relative_to(other._path)

    def is_relative_to(self, other: object) -> bool:
        """Tell whether it is ``other`` or lies below it."""
        return isinstance(other, ObjectPath) and self._path.is_relative_to(other._path)

    def absolute(self) -> ObjectPath:
        """Return the path itself: a URI is absolute."""
        return self

    def __truediv__(self, name: str | PurePosixPath) -> ObjectPath:
        return self._of(self._path / name)

    def __str__(self) -> str:
        return f"{SCHEME}{self._path}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectPath, (str(self),)

    def __hash__(self) -> int:
        return hash(self._path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self._path == other._path

    def __lt__(self, other: ObjectPath) -> bool:
        return self._path < other._path

    # -- looking --

    def exists(self) -> bool:
        """Tell whether there is such an object, or one below."""
        if (overview := overview_of(self.key)) is not None:
            return overview.file(self.key) is not None or bool(overview.folder(self.key))
        with os_errors(self):
            return bool(filesystem().exists(self.key))

    def is_file(self) -> bool:
        """Tell whether there is such an object."""
        if (overview := overview_of(self.key)) is not None:
            return overview.file(self.key) is not None
        with os_errors(self):
            return bool(filesystem().isfile(self.key))

    def is_dir(self) -> bool:
        """Tell whether there are objects below."""
        if (overview := overview_of(self.key)) is not None:
            return bool(overview.folder(self.key))
        with os_errors(self):
            return bool(filesystem().isdir(self.key))

    def stat(self) -> ObjectStat:
        """Return what is known of the object or folder; raise FileNotFoundError if there is none."""
        facts = self._facts()
        if facts is None:
            return ObjectStat(0, 0.0, _number(*(str(entry) for entry in self._listed())))
        return ObjectStat(facts.size, facts.modified, _number(facts.tag))

    def _facts(self) -> Facts | None:
        """Return what is known of the object; None for a folder."""
        if (overview := overview_of(self.key)) is not None:
            if (facts := overview.file(self.key)) is None and not overview.folder(self.key):
                raise FileNotFoundError(errno.ENOENT, "there is nothing", str(self))
            return facts
        with os_errors(self):
            found = filesystem().info(self.key)
        return Facts.of(found) if found["type"] != "directory" else None

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the objects and folders right below; raise FileNotFoundError if there are none."""
        if not (entries := self._listed()):
            raise FileNotFoundError(errno.ENOENT, "there is nothing", str(self))
        for name, _ in entries:
            yield self / name

    def folder_names(self) -> frozenset[str]:
        """Return the names of the folders right below, with one listing."""
        return frozenset(name for name, tag in self._listed() if not tag)

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield what matches ``pattern``, whose parts may have ``*``, ``?`` and ``[]``."""
        part, _, rest = pattern.partition("/")
        if not rest:
            names = [name for name, _ in self._listed() if fnmatch.fnmatchcase(name, part)]
            yield from (self / name for name in names)
            return
        for name in sorted(name for name in self.folder_names() if fnmatch.fnmatchcase(name, part)):
            yield from (self / name).glob(rest)

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Yield every object below, at any depth, whose name matches ``pattern``."""
        with os_errors(self):
            keys = filesystem().find(self.key)
        for path in (self._of(PurePosixPath(key)) for key in keys):
            if fnmatch.fnmatchcase(path.name, pattern):
                yield path

    def _listed(self) -> list[tuple[str, str]]:
        """Return name and ETag of what lies right below; a folder has no ETag."""
        if (overview := overview_of(self.key)) is not None:
            return sorted(overview.folder(self.key).items())
        try:
            with os_errors(self):
                entries = filesystem().ls(self.key, detail=True)
        except FileNotFoundError:
            return []
        found = ((PurePosixPath(entry["name"]), entry.get("ETag", "")) for entry in entries)
        return sorted((path.name, tag) for path, tag in found if path.parent == self._path)

    # -- reading and writing --

    def read_bytes(self) -> bytes:
        """Return the content; raise FileNotFoundError if there is no such object."""
        with os_errors(self):
            return bytes(filesystem().cat_file(self.key, max_concurrency=1))  # with more, it asks for the size first

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content as text."""
        return self.read_bytes().decode(encoding, errors)

    def open(self, mode: str = "r", encoding: str | None = None, errors: str | None = None) -> IO[Any]:
        """Open the object to read it; writing goes by :meth:`write_bytes`, as a whole."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self} cannot be opened with mode {mode!r}: an object is replaced as a whole")
        with os_errors(self):
            file = filesystem().open(self.key, "rb")
        return file if mode == "rb" else io.TextIOWrapper(file, encoding or "utf-8", errors)

    def write_bytes(self, data: bytes) -> int:
        """Replace the object by one request: readers find the old content or the new one."""
        with os_errors(self):
            filesystem().pipe_file(self.key, data)
        return len(data)

    def write_text(self, text: str, encoding: str = "utf-8") -> int:
        """Replace the object with ``text``."""
        return self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; raise FileNotFoundError if there is none, unless ``missing_ok``."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such object", str(self))
        with os_errors(self):
            filesystem().rm_file(self.key)  # S3 answers the same whether there was one or not

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there once something is in it."""


def is_object(path: object) -> TypeGuard[ObjectPath]:
    """Tell whether ``path`` is that of an object in a bucket, and so no local file."""
    return isinstance(path, ObjectPath)


def is_local(path: Path) -> bool:
    """Tell whether ``path`` is a file or folder of this machine, or shared with it, and not in an object store."""
    return isinstance(path, Path)


def _number(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(texts).encode()).digest()[:7], "big")
