"""Does a file system share its locks between all hosts that see it? What the kernel says of the mount decides.

``flock`` itself cannot tell: where locks stay on a host (NFS with ``local_lock``, most file systems in user space), it
succeeds there all the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

_OF_ONE_HOST = (
    "apfs bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs hfs hfsplus jfs msdos nilfs2 ntfs ntfs3 overlay ramfs "
)
_OF_ONE_HOST += "reiserfs squashfs tmpfs ubifs udf ufs vfat xfs zfs"
_WITH_CLUSTER_LOCKS = "ceph gfs2 gpfs lustre nfs nfs4 ocfs2"
_LOCKING = frozenset(f"{_OF_ONE_HOST} {_WITH_CLUSTER_LOCKS}".split())
"""Types that share locks with whoever sees the same files, as far as no option says otherwise."""

_LOCAL_OPTIONS = frozenset({"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock"})
"""Options of NFS and Lustre by which locks are not seen by other hosts, or there are none."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Mount(NamedTuple):
    """What the kernel says of a mounted file system."""

    type: str
    options: frozenset[str]

    @property
    def shares_locks(self) -> bool:
        """Whether a lock there is seen by every host, if there are locks at all."""
        return self.type in _LOCKING and not self.options & _LOCAL_OPTIONS


def shares_locks(folder: Path) -> bool:
    """Tell whether a lock on a file in ``folder``, which exists, is seen by all hosts that see the file.

    False where that is not known: file systems in user space, SMB, 9p and whatever else there is.
    """
    mount = mount_of(folder)
    return (mount is None or mount.shares_locks) and _has_locks(folder)


def mount_of(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> Mount | None:
    """Return the file system that ``folder`` lies on, None where the kernel has no such table (macOS)."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    place = Path(os.path.realpath(folder))
    found, longest = None, -1
    for line in lines:  # proc(5): ID parent device root mount-point options tags... - type source more-options
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), before.split()[4]))
        if place.is_relative_to(point) and len(point.parts) >= longest:  # of two on one point, the last hides the other
            kind, _, more = after.split(" ", 2)
            found = Mount(kind, frozenset(f"{before.split()[5]},{more}".split(",")))
            longest = len(point.parts)
    return found


def _has_locks(folder: Path) -> bool:
    """Try a lock."""
    trial = folder / f".lock.{uuid4().hex[:8]}.part"
    try:
        with trial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:  # nobody can claim anything here
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    finally:
        trial.unlink(missing_ok=True)
    return True
