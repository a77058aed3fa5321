"""What a trial prints, kept in its folder."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from nnray.redaction import masked_text


@contextmanager
def captured(path: Path, echo: bool) -> Iterator[TextIO]:
    """Append everything printed, warned and logged to ``path``, passwords and tokens masked; yield the open file.

    Args:
        path: The log, created if it is not there.
        echo: Whether it also appears where it would have without the log.
    """
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    with _closing_somehow(_Log(path)) as log:
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        loggers = (logging.getLogger(), lightning)
        out, err = (_Tee(sys.stdout, log), _Tee(sys.stderr, log)) if echo else (log, log)
        try:
            for logger in loggers:
                logger.addHandler(handler)
            lightning.setLevel(logging.WARNING)  # that a fit begins and ends is in the record
            with redirect_stdout(out), redirect_stderr(err):
                yield log
        finally:
            lightning.setLevel(level)
            for logger in loggers:
                logger.removeHandler(handler)


@contextmanager
def _closing_somehow(log: TextIO) -> Iterator[TextIO]:
    """Close ``log`` in the end; that a full disk takes no more of it must not hide how the trial went."""
    try:
        yield log
    finally:
        with suppress(OSError):
            log.close()


class _Log(io.TextIOWrapper):
    """A file to append lines to, in which passwords and tokens are masked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("ab"), encoding="utf-8", errors="replace", line_buffering=True)

    def write(self, text: str) -> int:
        super().write(masked_text(text))
        return len(text)


class _Tee(io.TextIOBase):
    """Writes to a terminal as if alone there, and to a log."""

    def __init__(self, terminal: TextIO, log: TextIO) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._terminal.encoding
