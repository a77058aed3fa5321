"""Join a Ray cluster, or start Ray here for as long as a command needs it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnray.errors import SpaceError

# Set before Ray is imported. Tune's own CSV, JSON and TensorBoard logs cost two thirds of its time per trial, and its
# snapshots of the experiment are of no use here, where the trial folders tell what is done.
_ENVIRONMENT = {
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
}
_ANSWER_S = 10.0
_OBJECT_STORE_BYTES = 200_000_000
_PRELOADED = ("torch", "lightning.pytorch")
"""What Ray's processes import while they wait for the first trial, which takes seconds; nothing of a person's own."""


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Join a cluster, or start Ray here for as long as it is needed; one that already runs in this process is used.

    Args:
        address: The cluster to join; None for $RAY_ADDRESS, or else this machine.

    Yields whether Ray was started here, and so is this command's alone.

    Raises:
        SpaceError: If the cluster cannot be joined.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what went wrong is in records and logs
    if ray.is_initialized():
        yield False
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _refuse_silent(address)
    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_system_config": {"preload_python_modules": list(_PRELOADED)},
    }
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else local)
        )
    except Exception as error:  # Ray raises bare ones too, where a machine is too busy to start it in time
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " (a cluster with tokens needs RAY_AUTH_MODE=token)"
        place = f"join the Ray cluster at {address}" if address else "start Ray"
        raise SpaceError(f"cannot {place}: {' '.join(str(error).split())}{hint}") from error
    try:
        if callable(terminate):  # Ray's own handler aborts this process, and what it has started stays behind
            signal.signal(signal.SIGTERM, terminate)
        if address and os.environ.get("RAY_AUTH_MODE") == "token":
            _refuse_needless_token(address)
        yield not address
    finally:
        ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Refuse an address where nothing answers: Ray itself would go on asking for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", and whatever else Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise SpaceError(f"cannot join the Ray cluster at {address}: {error.strerror or error}") from error


class _Nothing:
    def ready(self) -> None:
        """Do nothing."""


def _refuse_needless_token(address: str) -> None:
    """Refuse a cluster without tokens where this process asks for one: there each actor would die at once."""
    import ray

    actor = ray.remote(num_cpus=0)(_Nothing).remote()
    try:
        ray.get(actor.ready.remote(), timeout=_ANSWER_S * 3)
    except ray.exceptions.ActorDiedError as error:
        raise SpaceError(
            f"cannot use the Ray cluster at {address}: RAY_AUTH_MODE=token is set here but not on its nodes"
        ) from error
    except ray.exceptions.RayError:
        pass  # something else: it is told when the trials' own workers meet it
