"""Another process that holds a trial's claim, as another command's worker does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnray.trial.paths import TrialPaths

_PROGRAM = """
import sys
from pathlib import Path
from nnray.store.claim import Claim
claim = Claim.acquire(Path(sys.argv[1]))
print("held" if claim else "refused", flush=True)
sys.stdin.readline()
"""


@contextmanager
def claimed_elsewhere(paths: TrialPaths) -> Iterator[subprocess.Popen[str]]:
    """Hold the claim of the trial in another process until the end of the block, or until that is killed."""
    paths.folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", _PROGRAM, str(paths.claim)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
