"""Why a worker process died, as far as Ray, Python's last words and the kernel tell."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from nnray.store.record import Cause
from nnray.training.crash_report import crash_told_in

# Ray's memory monitor and its OutOfMemoryError (ray.exceptions) say one of these.
_RAY_LACKS_MEMORY = ("low on memory", "OutOfMemoryError", "memory usage threshold")
_KERNEL_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


def cause_of_death(ray_says: str, crash: Path, oom_killed: bool) -> tuple[Cause, str]:
    """Return why the worker of a trial died, and a line that says it.

    Args:
        ray_says: The text of Ray's error.
        crash: Where a crash in compiled code would have left its stack.
        oom_killed: Whether the kernel has killed a process for memory on the worker's host meanwhile.
    """
    told = crash_told_in(crash)
    if told:
        return "error", f"its worker process crashed: {told.splitlines()[0]}"
    if any(text in ray_says for text in _RAY_LACKS_MEMORY):
        return "out-of-memory", "its worker process was killed by Ray, since the node was short of memory"
    if oom_killed:
        return "out-of-memory", "its worker process was killed by the kernel, since the host was short of memory"
    return "lost", "its worker process or its node was lost"


def error_text(trial: Any) -> str:
    """Return what Ray says of the error of a ``ray.tune.experiment.Trial``."""
    error = trial.get_pickled_error() or trial.get_error()
    return f"{type(error).__name__}: {error}" if error is not None else ""


def is_on_this_host(trial: Any) -> bool:
    """Tell whether the last worker of a ``ray.tune.experiment.Trial`` ran on the driver's host."""
    return (trial.last_result or {}).get("hostname") in (None, socket.gethostname())


class OomKills:
    """Notices when the kernel kills a process of this host, or of this container, for memory."""

    def __init__(self, counters: tuple[Path, ...] = _KERNEL_COUNTERS) -> None:
        self._counters = counters
        self._seen = self._count()

    def any_since(self) -> bool:
        """Tell whether there was one since the last call, or since this was made."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        for counter in self._counters:
            try:
                for line in counter.read_text().splitlines():
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
            except (OSError, ValueError):
                continue
        return 0
