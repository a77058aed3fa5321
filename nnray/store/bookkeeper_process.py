"""A bookkeeper in a process of its own, so that its work does not slow the one that runs a sweep.

The process reads a signature per line from its standard input and closes the books at the end of that, which also
comes when the process that started it is killed; then it prints its report as a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import nnray
from nnray.store.bookkeeper import Bookkeeper, BooksReport
from nnray.store.files import path_of
from nnray.trial.paths import StorePaths, check_sweep_name

_CLOSE = "close"
_URI_VARIABLE = "NNRAY_BOOKKEEPER_MLFLOW_URI"
_RUNNERS_END_IN_S = 5.0
"""How long the trials of a command that was killed may go on writing."""


class BookkeeperProcess:
    """A :class:`~nnray.store.bookkeeper.Bookkeeper` that runs beside this process, at a lower priority.

    No method but :meth:`close` ever waits for it.

    Args:
        store: The store.
        sweep: The sweep's name.
        mlflow_uri: An MLflow tracking URI; by default the store's own SQLite database.
    """

    def __init__(self, store: StorePaths, sweep: str, mlflow_uri: str | None = None) -> None:
        self._arguments = (store, check_sweep_name(sweep), mlflow_uri)
        command = [sys.executable, "-P", "-m", "nnray.store.bookkeeper_process", str(store.root), sweep]
        # The child must find this very package, however its parent found it.
        here = str(Path(nnray.__file__).parents[1])
        path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A URI may hold a password, and a command line can be read by everybody.
            env=os.environ | {"PYTHONPATH": path, _URI_VARIABLE: mlflow_uri or ""},
        )
        assert self._process.stdin is not None
        self._input = self._process.stdin.fileno()
        os.set_blocking(self._input, False)
        self._unsent = b""
        self._report: BooksReport | None = None

    def note(self, signature: str) -> None:
        """Take note that the folder of the trial ``signature`` changed."""
        self._send(signature)

    def close(self) -> BooksReport:
        """Have everything brought up to the folders, wait for that, and return what the books hold."""
        if self._report is None:
            self._report = self._closed()
        return self._report

    def _closed(self) -> BooksReport:
        os.set_blocking(self._input, True)
        self._send(_CLOSE)
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return BooksReport(**json.loads(output))
        return Bookkeeper(*self._arguments).close()  # it was killed: what it had to do is still to be done

    def _send(self, line: str) -> None:
        self._unsent += line.encode() + b"\n"
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._input, self._unsent) :]
        except BlockingIOError:
            pass  # the pipe is full; the rest goes with the next line
        except BrokenPipeError:
            self._unsent = b""  # close() finds the process gone and does its work


def main() -> None:
    """Keep the books of a sweep until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m nnray.store.bookkeeper_process", description=__doc__)
    parser.add_argument("store", type=path_of)
    parser.add_argument("sweep")
    arguments = parser.parse_args()

    os.nice(10)
    # Ctrl-C and a closed terminal reach every process of a command; this one ends with its input, after the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    report = os.dup(1)
    os.dup2(2, 1)  # nothing but the report goes to the standard output

    books = Bookkeeper(StorePaths(arguments.store), arguments.sweep, os.environ.pop(_URI_VARIABLE, None) or None)
    told_to_close = _keep(books)
    line = books.close(0.0 if told_to_close else _RUNNERS_END_IN_S).json() + "\n"
    with contextlib.suppress(BrokenPipeError):  # nobody may be left to read it
        os.write(report, line.encode())


def _keep(books: Bookkeeper) -> bool:
    """Keep the books until the input ends; tell whether that was announced, and not the end of a killed process."""
    wait = books.flush()
    buffer = b""
    while True:
        ready, _, _ = select.select([0], [], [], None if books.is_up_to_date else wait)
        if ready:
            read = os.read(0, 65536)
            if not read:
                return False
            *lines, buffer = (buffer + read).split(b"\n")
            if _CLOSE.encode() in lines:
                return True
            for line in lines:
                books.note(line.decode())
        wait = books.flush()


if __name__ == "__main__":
    main()
