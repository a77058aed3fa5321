"""Files that are whole or absent.

On a disk they are written beside, flushed, then renamed over the old one; for an object store they are written here
first, then put as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from nnray.store.files.bucket import filesystem, os_errors
from nnray.store.files.conditional import Content, put_new, put_over, tag_of
from nnray.store.files.object_path import ObjectPath, is_object
from nnray.store.files.scratch import scratch_file

_OVERTAKEN = 5
"""So often may a former runner come first, which does so once."""
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


Fence = Callable[[], None]
"""Called at the last moment before a file is replaced: raises where that is no longer allowed."""


def unfenced() -> None:
    """Let everything be written."""


@contextmanager
def replacing(path: Path, fence: Fence = unfenced) -> Iterator[Path]:
    """Yield a local path to write to; what stands there afterwards replaces ``path`` in one step.

    On a disk it lies beside ``path``, and its name begins with a dot, so that tools which read whole folders pass it
    over. On an exception, also one of ``fence``, it is removed and ``path`` stays as it was.
    """
    with _beside_or_scratch(path) as local:
        yield local
        _flush(local)
        if is_object(path):
            put_file(local, path, fence)
        else:
            fence()
            local.replace(path)


@contextmanager
def writing_once(path: Path, fence: Fence = unfenced) -> Iterator[Path]:
    """Yield a local path to write to; what stands there afterwards becomes ``path``, where the first writer wins.

    For files whose content does not depend on who writes them: if ``path`` is there by then and the same, it stays. If
    it is another, from an earlier writer that had other means, it is replaced.
    """
    with _beside_or_scratch(path) as local:
        yield local
        _flush(local)
        fence()
        if not _placed(local, path) and local.read_bytes() != path.read_bytes():
            if is_object(path):
                put_file(local, path, fence)
            else:
                fence()
                local.replace(path)


def write_bytes(path: Path, data: bytes, fence: Fence = unfenced) -> None:
    """Replace ``path`` with ``data`` in one step."""
    if is_object(path):
        _put(path, data, fence)
        return
    with replacing(path, fence) as beside:
        beside.write_bytes(data)


def write_text(path: Path, text: str, fence: Fence = unfenced) -> None:
    """Replace ``path`` with ``text`` (UTF-8) in one step."""
    write_bytes(path, text.encode("utf-8"), fence)


def create(path: Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` if there is no such file; of several who try at once, one alone succeeds.

    The folder of ``path`` must exist. Where a file system has hard links, and on an object store, the file appears with
    all its content; elsewhere a reader may find it empty for a moment.

    Returns:
        Whether this call made the file.
    """
    if is_object(path):
        return put_new(path, data)
    beside = _beside(path)
    try:
        beside.write_bytes(data)
        _flush(beside)
        try:
            os.link(beside, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def append(path: Path, data: bytes) -> None:
    """Append ``data``, for a file with one writer; it is whole for every reader once this returns.

    An object store cannot append: the object is read and put again.
    """
    if is_object(path):
        before = b""
        with contextlib.suppress(FileNotFoundError):
            before = path.read_bytes()
        path.write_bytes(before + data)
        return
    with path.open("ab") as file:
        file.write(data)


def place_copy(source: Path, target: Path) -> None:
    """Make ``target`` a file with the content that ``source`` has now, in one step, for files that are never changed.

    On a disk both are one file where it has hard links; an object store copies by itself.
    """
    if is_object(source) and is_object(target):
        with os_errors(source):
            filesystem().cp_file(source.key, target.key)
        return
    beside = _beside(target)
    try:
        try:
            os.link(source, beside)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copyfile(source, beside)
            _flush(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)  # two names of one file: rename(2) leaves both


@contextmanager
def _beside_or_scratch(path: Path) -> Iterator[Path]:
    """Yield a local path to write to; what is left there in the end is removed."""
    if is_object(path):
        with scratch_file(path.suffix) as local:
            yield local
        return
    beside = _beside(path)
    try:
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _placed(local: Path, path: Path) -> bool:
    """Give what lies at ``local`` its place, unless something is there; return whether that was done."""
    if is_object(path):
        return put_new(path, local)
    try:
        os.link(local, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        local.replace(path)
    return True


def put_file(local: Path, path: ObjectPath, fence: Fence = unfenced) -> None:
    """Replace the object at ``path`` with what lies at ``local``, in one step; see :func:`_put`."""
    _put(path, local, fence)


def _put(path: ObjectPath, content: Content, fence: Fence) -> None:
    """Replace an object, unless somebody else does so after ``fence`` was asked: then it is asked once more.

    A process that is stopped between the two, and goes on beside its successor, so cannot replace what that wrote.
    """
    if fence is unfenced:
        if isinstance(content, bytes):
            path.write_bytes(content)
            return
        with os_errors(path):
            filesystem().put_file(str(content), path.key)
        return
    for _ in range(_OVERTAKEN):
        tag = tag_of(path)
        fence()
        if put_over(path, content, tag):
            return
    raise OSError(errno.EBUSY, "another process replaces it all the time", str(path))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
