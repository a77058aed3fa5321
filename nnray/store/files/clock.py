"""Time by the store's own clock: hosts that share a store need not agree on the time."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from pathlib import Path
from uuid import uuid4

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.object_path import is_object


def modified(path: Path) -> float:
    """Return when ``path`` was last written, in seconds since 1970 by the clock of whoever keeps the file.

    An object store tells whole seconds.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return path.stat().st_mtime


def store_clock(folder: Path) -> float:
    """Return the time by the clock that :func:`modified` goes by, in seconds since 1970.

    The clock of a file system is asked by writing a file to ``folder``, which must exist; an object store says the time
    with every answer, in whole seconds.
    """
    if is_object(folder):
        bucket, _, key = folder.key.partition("/")
        with os_errors(folder):
            answer = filesystem().call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    probe = folder / f".clock.{uuid4().hex[:8]}.part"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
