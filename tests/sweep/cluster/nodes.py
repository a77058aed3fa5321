"""Nodes of Ray clusters on this machine, for tests: processes that are started, killed and found again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_STORE_BYTES = 80_000_000
OPEN = {"RAY_AUTH_MODE": "disabled"}
"""Nodes and commands must agree on whether there is a token; a fresh machine has none."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class StartedNode:
    """``ray start`` in a session of its own, so that all that it starts can be ended with it.

    Args:
        words: Options of ``ray start``.
        log: Where its output goes.
        before: A command that runs it, such as one that hides folders.
        dashboard: Whether a head has one, and so a job server.
        environment: Variables to add.
    """

    def __init__(
        self, words: list[str], log: Path, before: tuple[str, ...] = (), dashboard: bool = False, **environment: str
    ) -> None:
        self._folder: str | None = None
        common = ["--block", f"--object-store-memory={_STORE_BYTES}", "--disable-usage-stats"]
        if "--head" in words:
            common.append(f"--include-dashboard={str(dashboard).lower()}")
            # Of its own, for jobs ask it which cluster is the latest; short, for there are sockets in it.
            self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            common.append(f"--temp-dir={self._folder}")
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [*before, *_RAY, "start", *words, *common],
                env={**os.environ, **OPEN, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in (text := log.read_text()):
            assert self._process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and all its processes at once, as a loss of power does."""
        for pid in _session(self._process.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _session(leader: int) -> list[int]:
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == leader:
                pids.append(int(folder.name))
        except ProcessLookupError:
            continue
    return pids
