"""Start Ray on this machine, tell its address in a line of JSON, and end it when standard input ends.

That also comes when the command that wanted Ray is killed. A script that knows nothing of nnray: what it puts into its
environment would reach every trial.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading

_OBJECT_STORE_BYTES = 200_000_000
_PRELOADED = ("torch", "lightning.pytorch")
"""What Ray's workers import while they wait for the first trial, which takes seconds; nothing of a person's own."""
_IDLE_MS = 60_000
"""How long they wait. By default a second, once trials have reserved the cores: too short to take any of them over."""


def main() -> None:
    """Run the script; its argument is the word for an end that is waited for."""
    starter = threading.Thread(target=_follow, args=sys.argv[1:], daemon=True)
    starter.start()
    told = os.dup(1)
    os.dup2(2, 1)  # nothing but that line goes to the standard output
    import ray
    from ray._private.node import Node

    # Where there is no dashboard, this starts a process for Ray's usage statistics alone, and waits a second for it.
    Node.start_api_server = lambda self, **_: None
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={
                "preload_python_modules": list(_PRELOADED),
                "idle_worker_killing_time_threshold_ms": _IDLE_MS,
            },
        )
    except Exception as error:  # Ray raises bare ones too, where a machine is too busy to start it in time
        _tell(told, error=" ".join(str(error).split()))
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all processes of a job, it is for the command as well
    _tell(told, address=ray.get_runtime_context().gcs_address)
    starter.join()
    ray.shutdown()


def _follow(word: str) -> None:
    """Return when the command has no more use for Ray; end this process if the command is gone or never had any."""
    if sys.stdin.read() != word:
        os._exit(1)  # the kernel ends what Ray has started with it


def _tell(file: int, **words: str) -> None:
    with os.fdopen(file, "w") as output:
        output.write(json.dumps(words) + "\n")


if __name__ == "__main__":
    main()
