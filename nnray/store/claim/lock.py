"""Claims as locks that the kernel drops when their process dies, however it dies.

The lock is ``flock`` on the claim's file. A killed runner's last writes come up to 0.15 s after its driver is gone;
since the lock is held by the process that writes, its successor cannot start before those are done. On NFS a host that
was cut off loses its locks to others when the server's lease runs out; the kernel then fails what is read through the
lock's file, or another owner stands in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.claim.kind import ClaimKind, ClaimLostError, Holding

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What ``flock`` says where a file system has no locks."""


class Locks(ClaimKind):
    """Claims on a file system that shares its locks between all hosts."""

    def acquire(self, path: Path, owner: str) -> Holding | None:
        """Lock the file, and write the owner into it."""
        while (descriptor := _locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)) is None:
            if self.is_claimed(path):
                return None
            time.sleep(0.001)  # somebody was only asking, and held the shared lock for that moment
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
        return _Lock(path, descriptor, owner)

    def is_claimed(self, path: Path) -> bool:
        """Try a shared lock, which two who only ask can have at once."""
        try:
            descriptor = _locked(path, os.O_RDONLY, fcntl.LOCK_SH)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def owner(self, path: Path) -> str | None:
        """Return what the file says."""
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def exclusive(self, path: Path) -> Iterator[None]:
        """Let the kernel wait for the lock."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def listed(self, folder: Path, suffix: str) -> Iterator[Path]:
        """Yield the files."""
        yield from sorted(folder.glob(f"*{suffix}"))

    def forget(self, path: Path) -> None:
        """Remove the file."""
        path.unlink(missing_ok=True)


class _Lock(Holding):
    def __init__(self, path: Path, descriptor: int, owner: str) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._owner = owner.encode()

    def check(self) -> None:
        if self._descriptor is None or not self._is_ours(self._descriptor):
            raise ClaimLostError(f"the claim {self._path} is no longer this process's")

    def moved(self, path: Path) -> None:
        self._path = path  # a lock on the file, which the new name leads to as well

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return (
                os.path.samestat(os.fstat(descriptor), self._path.stat())
                and os.pread(descriptor, len(self._owner) + 1, 0) == self._owner
            )
        except OSError:  # EIO: the server gave the lock to somebody else; ENOENT: the folder is gone
            return False


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
        if error.errno in NO_LOCKS:
            raise StoreError(
                f"{path.parent} lies on a file system without locks, but the store says that it has them (store.json)"
            ) from error
        raise
    return descriptor
