"""Something happens to a process at a certain one of its file operations: it is killed, refused, slowed down.

Python tells an audit hook (PEP 578) of every file that it opens, renames or removes, before it does; the hook may
raise in its place. That needs no privileges, and the number of an operation is the same in every run of a trial. Files
that libraries write in compiled code (safetensors, pyarrow, PyTorch) it learns of when they are renamed; ``tear`` cuts
their content as well, since the kernel then ends the process at the first write beyond a file size.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Deed = Literal["count", "kill", "tear", "refuse", "delay"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"})


@dataclass(frozen=True)
class Meddling:
    """What is to happen to a process at its file operations in a folder; only those count that change something.

    Attributes:
        folder: The folder.
        deed: ``count`` does nothing; ``kill`` kills the process at operation ``at``; ``tear`` has the kernel kill it
            at its first write beyond ``amount`` bytes of a file from operation ``at`` on; ``refuse`` raises
            OSError(``code``) at the ``amount`` operations from ``at`` on; ``delay`` sleeps ``amount`` milliseconds at
            each operation.
        at: Number of an operation, counted from 0.
        amount: See ``deed``.
        code: An error number of the operating system.
        journal: A file that gets a line per operation, or None.
    """

    folder: Path
    deed: Deed
    at: int = 0
    amount: int = 0
    code: int = errno.ENOSPC
    journal: Path | None = None

    def install(self) -> None:
        """Begin, in this process; there is no end."""
        journal = None
        if self.journal is not None:
            journal = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        sys.addaudithook(_Hook(self, str(self.folder), journal))


class _Hook:
    def __init__(self, meddling: Meddling, folder: str, journal: int | None) -> None:
        self._meddling, self._folder, self._journal = meddling, folder, journal
        self._count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITING:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(self._folder):
            return
        number, self._count = self._count, self._count + 1
        if self._meddling.deed == "tear" and number > self._meddling.at:
            _die_of_large_files()  # Lightning puts every signal's handler back that it found when a fit began
        elif self._journal is not None:  # else the journal itself would be a file that grows too large
            relative = os.path.relpath(path, self._folder)
            os.write(self._journal, f"{number} {event} {relative}\n".encode())
        self._act(number, path)

    def _act(self, number: int, path: Any) -> None:
        deed, at, amount = self._meddling.deed, self._meddling.at, self._meddling.amount
        if deed == "kill" and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        elif deed == "tear" and number == at:
            _die_of_large_files()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (amount, amount))
        elif deed == "refuse" and at <= number < at + amount:
            raise OSError(self._meddling.code, os.strerror(self._meddling.code), os.fspath(path))
        elif deed == "delay":
            time.sleep(amount / 1000)


def _die_of_large_files() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def operations_of(journal: Path) -> list[str]:
    """Return the operations that a ``journal`` tells of, in order."""
    return journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
