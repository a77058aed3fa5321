"""What lies below a folder of a bucket, as one listing told it: whoever has that need not ask file by file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import PurePosixPath
from typing import Any, NamedTuple

_CLAIMS = ".leases/"
_CLAIMS_HOLD_S = 10.0
"""How long a listing tells of leases, which are renewed all the time: much shorter than they last without."""


class Facts(NamedTuple):
    """What a listing tells of an object.

    Attributes:
        size: Bytes.
        modified: When it was put, in seconds since 1970 by the clock of the object store.
        tag: Its ETag.
    """

    size: int
    modified: float
    tag: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Facts:
        """Return what fsspec's ``info`` has told."""
        return cls(found["size"], found["LastModified"].timestamp(), found["ETag"])


class Overview:
    """All objects below a folder, at one moment.

    Args:
        root: ``bucket/key`` of the folder.
        files: The objects by their ``bucket/key``.
    """

    def __init__(self, root: str, files: Mapping[str, Facts]) -> None:
        self._root, self._files, self._made = root, files, time.monotonic()
        self._folders: dict[str, dict[str, str]] = {}
        for key, facts in files.items():
            path, tag = PurePosixPath(key), facts.tag
            while str(path) != root and path.name not in (names := self._folders.setdefault(str(path.parent), {})):
                names[path.name] = tag
                path, tag = path.parent, ""

    def covers(self, key: str) -> bool:
        """Tell whether it knows what there is at ``key``, and below."""
        if _CLAIMS in f"{key}/" and time.monotonic() - self._made > _CLAIMS_HOLD_S:
            return False
        return key == self._root or key.startswith(f"{self._root}/")

    def file(self, key: str) -> Facts | None:
        """Return what is known of an object, None if there is none."""
        return self._files.get(key)

    def folder(self, key: str) -> dict[str, str]:
        """Return the names right below with their ETags; a folder has none."""
        return self._folders.get(key, {})


current: ContextVar[Overview | None] = ContextVar("current", default=None)


def overview_of(key: str) -> Overview | None:
    """Return the overview that tells of ``key``, None if the object store is to be asked."""
    overview = current.get()
    return overview if overview is not None and overview.covers(key) else None
