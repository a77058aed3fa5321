"""Run ``nnray`` as a person does, in a process of its own.

It is forked from a server that has PyTorch and Lightning loaded, which saves each command seconds of processor time.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import BaseContext
from pathlib import Path

TESTS = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    "NO_COLOR": "1",
    "COLUMNS": "200",
}


def forkserver() -> BaseContext:
    """Return what makes fresh processes that have PyTorch, Lightning and what every command needs loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["user_code", "nnray.chaos.preload"])
    return context


class Command:
    """A command that was started, in a session of its own; a ``Popen`` as far as tests need one."""

    def __init__(self, folder: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        with tempfile.NamedTemporaryFile(prefix="nnray-output-", delete=False) as output:
            self._output = Path(output.name)
        arguments = (str(folder), words, dict(environment), str(self._output))
        self._process = forkserver().Process(target=_run, args=arguments)  # type: ignore[attr-defined]
        self._process.start()
        self.pid: int = self._process.pid
        atexit.register(self._end)  # else the test run would wait for it at its end

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    poll = returncode.fget

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; what it started may still run."""
        self._process.join(timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for its end and return what it printed."""
        if self.wait(timeout) is None:
            raise subprocess.TimeoutExpired("nnray", timeout or 0, self.output)
        return self.output, None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill its process alone."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._output.unlink()


def _run(folder: str, words: tuple[str, ...], environment: Mapping[str, str], output: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment["PYTHONPATH"].split(os.pathsep)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    for script in [script for path in paths if (script := Path(path, "sitecustomize.py")).exists()][:1]:
        runpy.run_path(str(script))  # as a Python does that starts
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY | os.O_APPEND)):
        os.dup2(os.open(name, flags), number)
    os.dup2(1, 2)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    from nnray.cli.main import main

    try:
        sys.exit(main(words))
    finally:
        atexit._run_exitfuncs()  # a forked process ends without them


def start(folder: Path, *words: str, **environment: str) -> Command:
    """Start ``nnray WORDS`` in ``folder``, in a process group of its own, with variables added to its environment."""
    return Command(folder, words, ENVIRONMENT | environment)


def finish(command: Command) -> tuple[int, str]:
    """Wait for the command and return its exit status and what it printed."""
    output, _ = command.communicate(timeout=240)
    assert command.returncode is not None
    return command.returncode, output


def nnray(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Run ``nnray WORDS`` in ``folder`` and return its exit status and what it printed."""
    return finish(start(folder, *words, **environment))


def wait_until(condition: Callable[[], bool], seconds: float = 180) -> None:
    """Wait for ``condition``; fail the test if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
