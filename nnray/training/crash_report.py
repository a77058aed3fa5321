"""A crash in compiled code leaves no exception; Python's last words say where it was, and that nobody killed it."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnray.store.files import local_twin


@contextmanager
def crash_report(path: Path) -> Iterator[None]:
    """Have the stack written to ``path`` if the process dies of a signal of its own making (SIGSEGV, SIGABRT, ...).

    The file is removed afterwards; only a crash leaves it. A process that is killed from outside (SIGKILL) leaves it
    empty.
    """
    path = local_twin(path)
    was_enabled = faulthandler.is_enabled()
    with path.open("w", encoding="utf-8") as file:
        faulthandler.enable(file, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()
            if was_enabled:
                with contextlib.suppress(ValueError, OSError, AttributeError, RuntimeError):  # no stderr to write to
                    faulthandler.enable(sys.__stderr__, all_threads=False)  # type: ignore[arg-type]
            path.unlink(missing_ok=True)


def crash_told_in(path: Path) -> str | None:
    """Return what a crash left at ``path``; None if there was no crash.

    Of a trial in an object store, only a crash on this machine is known.
    """
    try:
        return local_twin(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except FileNotFoundError:
        return None
