"""Starts ``nnray`` commands as processes of their own, cheaply: forked from a server that has PyTorch loaded.

A command that trains three tiny trials takes about a second so, instead of six.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from nnray.chaos.file_operations import Meddling

Main = Callable[[Sequence[str]], int]
"""What a command line does: takes the words behind ``nnray`` and returns the exit status."""

_POLL_S = 0.01


@dataclass(frozen=True)
class Command:
    """A command that was started; it leads a session, to which all that it starts belongs.

    Attributes:
        words: What was typed.
        log: The file that has what it prints.
    """

    words: tuple[str, ...]
    log: Path
    _process: ForkServerProcess

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._process.exitcode

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end and return the exit status; None if it still runs after ``timeout_s`` seconds."""
        self._process.join(timeout_s)
        return self.status

    def kill(self) -> None:
        """Kill its process alone, if that still runs; what it started stays."""
        self._process.kill()
        self._process.join()

    def interrupt(self) -> None:
        """Press Ctrl-C, if it still runs."""
        if self.status is None:
            end(self.pid, signal.SIGINT)

    def kill_session(self) -> None:
        """Kill it and all that it started, as a loss of power does."""
        for pid in session(self.pid):
            end(pid, signal.SIGKILL)
        self._process.join()

    def wait_for_session(self, timeout_s: float) -> list[int]:
        """Wait until nothing that it started runs any more; return the processes that do after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while (left := session(self.pid)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return left


class Launcher:
    """Starts commands.

    Args:
        main: What a command line does.
    """

    def __init__(self, main: Main) -> None:
        self._main = main
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["nnray.chaos.preload"])

    def warm_up(self) -> None:
        """Wait until the server is there, so that the first command takes no longer than others."""
        process = self.context.Process(target=os.getpid)
        process.start()
        process.join()

    def start(self, words: Sequence[str], log: Path, meddling: Meddling | None = None) -> Command:
        """Start ``nnray WORDS`` in the folder of ``log``, which is written anew."""
        arguments = (self._main, tuple(words), log, meddling, dict(os.environ))  # the server has that of its own start
        process = self.context.Process(target=_run, args=arguments, daemon=False)
        process.start()
        return Command(tuple(words), log, process)

    def run(self, words: Sequence[str], log: Path, timeout_s: float) -> Command:
        """Start a command and wait for it; one that takes longer than ``timeout_s`` is killed, with all it started."""
        command = self.start(words, log)
        if command.wait(timeout_s) is None:
            command.kill_session()
        return command


def session(leader: int) -> list[int]:
    """Return the living processes of the session that process ``leader`` leads."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")
        except OSError:
            continue
        state, _, _, leads, *_ = fields.split()
        if int(leads) == leader and state not in "ZX":
            found.append(int(folder.name))
    return found


def end(pid: int, number: signal.Signals) -> bool:
    """Send a signal; tell whether there was somebody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _run(
    main: Main, words: tuple[str, ...], log: Path, meddling: Meddling | None, environment: Mapping[str, str]
) -> None:
    os.setsid()
    os.chdir(log.parent)
    os.environ.clear()
    os.environ.update(environment)
    os.environ["NO_COLOR"], os.environ["COLUMNS"] = "1", "200"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # one in the background would ignore Ctrl-C
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    os.dup2(sys.stdin.fileno(), 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    if meddling is not None:
        meddling.install()
    sys.exit(main(words))
