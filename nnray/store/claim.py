"""One runner per trial: a lock that the kernel drops when its process dies, however it dies.

The lock is ``flock`` on a file in the trial's folder. A killed runner's last writes come up to 0.15 s after its driver
is gone; since the lock is held by the process that writes, its successor cannot start before those are done.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from nnray.errors import StoreError


class Claim:
    """The right to run a trial, held until :meth:`release` or the end of the process."""

    def __init__(self, descriptor: int, owner: str) -> None:
        self._descriptor: int | None = descriptor
        self.owner = owner
        """What the file says: no two claims say the same."""

    @classmethod
    def acquire(cls, path: Path, **about: Any) -> Claim | None:
        """Return the claim on the trial whose lock file is ``path``, or None if another process holds it.

        The folder of ``path`` must exist. The file then says who holds the claim, and what ``about`` adds to that in
        plain data.

        Raises:
            StoreError: If the file cannot be written, or the file system has no locks.
        """
        while (descriptor := _locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)) is None:
            if is_claimed(path):
                return None
            time.sleep(0.001)  # somebody was only asking, and held the shared lock for that moment
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), **about})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
        return cls(descriptor, owner)

    def release(self) -> None:
        """Give the claim up; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_claimed(path: Path) -> bool:
    """Tell whether a living process holds the claim at ``path``; to ask, it is enough to be allowed to read.

    Raises:
        StoreError: If the file cannot be read, or the file system has no locks.
    """
    try:
        descriptor = _locked(path, os.O_RDONLY, fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def claim_owner(path: Path) -> str | None:
    """Return what the claim at ``path`` says of the one who holds it, or held it last; None if there is no claim."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the lock at ``path`` and hold it: for short work that two commands must not do at once."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, flags: int, kind: int) -> int | None:
    """Return a descriptor that holds the lock, or None if another one is in its way."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            use = "read" if flags == os.O_RDONLY else "written"
            raise StoreError(f"the claim {path} cannot be {use}: {error.strerror}") from error
        raise
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise StoreError(
                f"{path.parent} lies on a file system without locks, which nnray needs to run a trial only once"
            ) from error
        raise
    return descriptor
