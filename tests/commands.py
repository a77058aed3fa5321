"""Run ``nnray`` as a person does: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    "NO_COLOR": "1",
    "COLUMNS": "200",
}
_PROGRAM = "import sys; from nnray.cli.main import main; sys.exit(main())"


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``nnray WORDS`` in ``folder``, in a process group of its own, with variables added to its environment."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, *words],
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and so would every command that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the command and return its exit status and what it printed."""
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def nnray(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Run ``nnray WORDS`` in ``folder`` and return its exit status and what it printed."""
    return finish(start(folder, *words, **environment))


def wait_until(condition: Callable[[], bool], seconds: float = 180) -> None:
    """Wait for ``condition``; fail the test if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
