"""Join a Ray cluster, or start Ray here for as long as a command needs it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from nnray.errors import SpaceError
from nnray.loopback import on_loopback
from nnray.sweep.cluster.local_ray import ENVIRONMENT, LocalRay

_ANSWER_S = 10.0
_TOKENS = "RAY_AUTH_MODE"


@contextmanager
def joined(address: str | None, local: LocalRay | None = None) -> Iterator[bool]:
    """Join a cluster, or start Ray here for as long as it is needed; one that already runs in this process is used.

    Args:
        address: The cluster to join; None for $RAY_ADDRESS, or else this machine.
        local: Ray on this machine that has begun to start already; it is ended.

    Yields whether Ray was started here, and so is this command's alone.

    Raises:
        SpaceError: If the cluster cannot be joined.
    """
    os.environ.update(ENVIRONMENT | os.environ)
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what went wrong is in records and logs
    if ray.is_initialized():
        yield False
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _refuse_silent(address)
        with _connected(address):
            if os.environ.get(_TOKENS) == "token":
                _refuse_needless_token(address)
            yield False
        return
    with local or LocalRay() as started:
        here = started.address()
        _use_tokens()
        with on_loopback(), _connected(here):
            _let_trials_inherit_environment()
            yield True


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        hint = "" if os.environ.get(_TOKENS) else f" (a cluster with tokens needs {_TOKENS}=token)"
        raise SpaceError(f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}{hint}") from error
    try:
        if callable(terminate):  # Ray's own handler aborts this process, and what it has started stays behind
            signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        ray.shutdown()


def _use_tokens() -> None:
    """Make this process send Ray's token, which a Ray that was started here asks for if nothing else was chosen."""
    from ray._raylet import Config  # type: ignore[attr-defined]

    if _TOKENS not in os.environ:
        os.environ[_TOKENS] = "token"
        Config.initialize("")  # Ray has read it when it was imported


def _let_trials_inherit_environment() -> None:
    """Let trials run in the workers that wait for them: for those with variables of their own Ray starts new ones.

    Tune gives its trials variables of this process, which everything that was started here has inherited.
    """
    from ray.tune.execution import class_cache

    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()


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
