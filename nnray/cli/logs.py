"""Print what a trial printed.

TRIAL is the signature, as few of its first digits as no other trial begins with, or SWEEP/NAME:

  nnray logs 3fa8 -f                                    follow it until the trial ends
  nnray logs 'digits/width=32 seed=3' --tail 20
"""

from __future__ import annotations

import argparse
import codecs
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.cli.jobs import add_address_option
from nnray.cli.store_option import add_store_option, existing_store
from nnray.errors import StoreError
from nnray.store.files import is_object

if TYPE_CHECKING:
    from nnray.trial.paths import TrialPaths

_LOOK_AGAIN_S = 0.3
_OVER = ("completed", "stopped", "failed")
EXIT_OK = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("trial", metavar="TRIAL", help="a signature or its first digits, or SWEEP/NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing until the trial has ended")
    parser.add_argument("-n", "--tail", metavar="N", type=int, help="of what there is, only the last N lines")
    add_store_option(parser)
    add_address_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it; return the exit status."""
    from nnray.store.finding import find_trial

    if arguments.tail is not None and arguments.tail < 0:
        raise StoreError(f"--tail: {arguments.tail} is not a number of lines")
    paths = find_trial(existing_store(arguments.store), arguments.trial)
    log = _Log(paths.log)
    text = log.read()
    if arguments.tail is not None:
        lines = text.splitlines(keepends=True)
        text = "".join(lines[len(lines) - min(arguments.tail, len(lines)) :])
    _print(text)
    if not text and not arguments.follow:
        print(f"nnray: {paths.signature} has printed nothing", file=sys.stderr)
    if arguments.follow:
        for text in _followed(log, paths):
            _print(text)
    return EXIT_OK


def _followed(log: _Log, paths: TrialPaths) -> Iterator[str]:
    """Yield what is added to the log until the trial has ended, resumptions in between included."""
    while True:
        over = _is_over(paths)  # asked before reading: what a trial prints is there before its record says how it ended
        yield log.read()
        if over:
            return
        time.sleep(_LOOK_AGAIN_S)


def _is_over(paths: TrialPaths) -> bool:
    from nnray.store.stored_trial import StoredTrial

    return not paths.folder.is_dir() or StoredTrial(paths).status in _OVER


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Log:
    """Reads what was added to a file since the last time; a file that is a new one or was cut is read anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._read = 0
        self._content = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> str:
        if is_object(self._path):
            return self._read_object()
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if self._identity != (stat.st_dev, stat.st_ino) or stat.st_size < self._read:
                    self._identity, self._read = (stat.st_dev, stat.st_ino), 0
                    self._decoder.reset()
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:  # the trial has not started, or is about to be trained anew
            return ""
        self._read += len(content)
        return self._decoder.decode(content)

    def _read_object(self) -> str:
        """Return what the log has beyond what was read; a log that does not begin so is another one."""
        try:
            identity = (0, self._path.stat().st_ino)
            if identity == self._identity:
                return ""
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ""
        if not content.startswith(self._content):
            self._content = b""
            self._decoder.reset()
        new = content[len(self._content) :]
        self._identity, self._content = identity, content
        return self._decoder.decode(new)
