"""``nnray`` as a person runs it, in a process of its own, for the benchmarks that read off its store what it did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PROGRAM = "import sys; from nnray.cli.main import main; sys.exit(main())"
_HERE = Path(__file__).parent


def nnray(*words: str) -> None:
    """Run ``nnray WORDS`` on this machine; modules beside this file can be imported by their names.

    Raises:
        RuntimeError: If it does not end with status 0, with what it printed.
    """
    path = os.pathsep.join([str(_HERE), str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"nnray {words[0]} ended with status {done.returncode}: {done.stdout}{done.stderr}")
