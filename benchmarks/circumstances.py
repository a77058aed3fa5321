"""Under what circumstances figures were measured: every script's JSON begins with them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any


def circumstances(libraries: Sequence[str], loads: Sequence[float]) -> dict[str, Any]:
    """Return machine, versions of Python and ``libraries``, and load averages; the first of ``loads`` is before."""
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in libraries},
        "load_average": {"before": loads[0], "highest": max(loads)},
    }
