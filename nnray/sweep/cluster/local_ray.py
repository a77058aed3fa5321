"""Ray on this machine for one command: it can begin before the command is ready for it.

Ray takes seconds to start, and its workers more to import PyTorch and Lightning; a command needs as long to plan.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from nnray.errors import SpaceError
from nnray.loopback import ON_LOOPBACK

# Set before Ray is imported. Tune's own CSV, JSON and TensorBoard logs cost two thirds of its time per trial, and its
# snapshots of the experiment are of no use here, where the trial folders tell what is done.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Tune retries preempted trials by itself, unseen
    "PL_DISABLE_FORK": "1",  # as Tune has it for its workers
}
_PROGRAM = Path(__file__).with_name("local_ray_process.py")
_CLOSE = "close"


class LocalRay:
    """Ray on this machine, which starts while its maker goes on, and ends with this context or its process."""

    def __init__(self) -> None:
        self._in_use = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), _CLOSE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | os.environ | ON_LOOPBACK,
            start_new_session=True,  # Ctrl-C in a terminal is for the command, which needs Ray to stop its trials
        )

    def address(self) -> str:
        """Wait until Ray has started, and return its address.

        Raises:
            SpaceError: If Ray does not start.
        """
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline() or '{"error": "its process was killed"}')
        if "error" in told:
            raise SpaceError(f"cannot start Ray: {told['error']}")
        self._in_use = True
        return str(told["address"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.returncode is None:
            if not self._in_use:
                self._process.kill()  # nobody waits for what nobody uses: the kernel ends what it has started with it
            self._process.communicate(_CLOSE if self._in_use else "")
