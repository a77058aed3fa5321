"""A disk that fills up or can no longer be written; commands are lied to where file systems may not be mounted."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nnray.chaos.faults.fault import Fault
from nnray.chaos.file_operations import Meddling
from nnray.chaos.stage import Stage

_ROOM = 8
"""The disk has so many times the size of the study."""


class DiskFull(Fault):
    """There is no room left, then there is again; on a file system in memory, where that may be mounted."""

    name = "disk-full"
    about = "no room on the disk, then there is again"
    fails_trials = True

    @contextmanager
    def ground(self, stage: Stage) -> Iterator[None]:
        """Lay the store on a small file system of its own."""
        root = stage.store.root
        root.mkdir()
        options = f"size={_ROOM * stage.study.bytes}"
        mounted = _call("mount", "-t", "tmpfs", "-o", options, "nnray-chaos", str(root)) == 0
        try:
            yield
        finally:
            if mounted:
                _keep_and_unmount(root)

    def strike(self, stage: Stage) -> None:
        """Leave less room than the study needs."""
        root, room = stage.store.root, stage.random.randrange(stage.study.bytes)
        if not root.is_mount():
            _lie(stage, errno.ENOSPC)
            return
        filler = root / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(root).free - room))
        stage.note(f"{room} bytes of room for a study of {stage.study.bytes}", kills=1)
        command = stage.sweep()
        stage.end_or_wait_for_room(command)
        filler.unlink()
        stage.end_of(command)


class ReadOnly(Fault):
    """Nothing can be opened for writing any more, then it can again; what is open stays so."""

    name = "read-only"
    about = "the store cannot be written for a while"
    fails_trials = True

    def strike(self, stage: Stage) -> None:
        """Forbid writing in the midst of a command."""
        root = stage.store.root
        root.mkdir(exist_ok=True)
        if _call("mount", "--bind", str(root), str(root)):
            _lie(stage, errno.EROFS)
            return
        _call("umount", str(root))
        command = stage.sweep()
        moment = stage.reach_moment(command)
        _call("mount", "--bind", str(root), str(root))  # a mount that has files open cannot be made read-only
        _call("mount", "-o", "remount,bind,ro", str(root))
        try:
            seconds = stage.random.uniform(0.2, 2.0)
            stage.note(f"read-only {moment}, for {seconds:.2f} s", kills=1)
            command.wait(seconds)
        finally:
            _call("umount", "--lazy", str(root))
        stage.end_of(command)


def _keep_and_unmount(root: Path) -> None:
    kept = root.with_name("kept")
    with suppress(OSError):
        shutil.copytree(root, kept, symlinks=True)
    _call("umount", "--lazy", str(root))
    with suppress(OSError):
        root.rmdir()
        kept.rename(root)


def _lie(stage: Stage, code: int) -> None:
    at = stage.random.randrange(len(stage.study.operations))
    stage.note(f"{errno.errorcode[code]} at every file operation from {at} on", kills=1)
    command = stage.sweep(meddling=Meddling(stage.store.root, "refuse", at, 1_000_000, code))
    stage.end_or_wait_for_room(command)
    command.interrupt()
    stage.end_of(command)


def _call(*words: str) -> int:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return 1
