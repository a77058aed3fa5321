"""Run a sweep on Ray Tune, with warm workers that train one trial after another."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from nnray.errors import SpaceError
from nnray.space.resources import Resources
from nnray.sweep.launch import Execute
from nnray.sweep.observer import Observer
from nnray.sweep.queue import TrialQueue
from nnray.training.runner import Run

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
}
_ANSWER_S = 10.0
_OBJECT_STORE_BYTES = 200_000_000
_GPU_SHARES = 8
"""At most so many trials share a GPU where nobody has said how many."""


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray.

    Attributes:
        address: The cluster to join; None for $RAY_ADDRESS, or else this machine.
        max_concurrent: Bound on the number of trials at a time; None for as many as fit.
        resources: What one trial occupies.
    """

    address: str | None = None
    max_concurrent: int | None = None
    resources: Resources = dataclasses.field(default_factory=Resources)


@contextmanager
def ray_executor(options: RayOptions) -> Iterator[Execute]:
    """Join a cluster, or start Ray here, and yield what trains the trials of a queue there.

    Raises:
        SpaceError: If the cluster cannot be joined, or a trial asks for more than it has.
    """
    with _ray(options.address) as is_ours:
        import ray

        there = ray.cluster_resources()
        request = _request(options.resources, there)
        slots = _slots(request, there)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(slots, 64))
        at_a_time = options.max_concurrent
        if is_ours:
            # A trial that waits makes Tune ask for a worker of its own, which it never gets: a placement group made and
            # removed per trial. On a cluster that others use or that can grow, Tune must ask to be given more.
            at_a_time = min(slots, at_a_time or slots)
        yield partial(_run, request=request, at_a_time=at_a_time)


def _run(queue: TrialQueue, run: Run, observer: Observer, request: dict[str, float], at_a_time: int | None) -> None:
    from ray import tune

    from nnray.sweep import worker
    from nnray.sweep.tune_hooks import WORKER_DEATHS, Messenger, QueueSearcher

    train = tune.with_parameters(worker.train, run=run, path=list(sys.path))
    with tempfile.TemporaryDirectory(prefix="nnray-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(train, request),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, observer),
                num_samples=-1,
                max_concurrent_trials=at_a_time,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                callbacks=[Messenger(queue, observer)],
                verbose=0,
            ),
        )
        tuner.fit()


@contextmanager
def _ray(address: str | None) -> Iterator[bool]:
    """Join a cluster, or start Ray here for as long as it is needed; one that already runs in this process is used.

    Yields whether Ray was started here, and so is this command's alone.
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
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else local)
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " (a cluster with tokens needs RAY_AUTH_MODE=token)"
        place = f"join the Ray cluster at {address}" if address else "start Ray"
        raise SpaceError(f"cannot {place}: {' '.join(str(error).split())}{hint}") from error
    try:
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


def _slots(request: dict[str, float], there: dict[str, float]) -> int:
    """Return how many trials run at a time."""
    room = [there.get(name.upper(), 0.0) / amount for name, amount in request.items() if amount]
    return max(1, int(min(room, default=there.get("CPU", 1.0)) + 1e-6))  # 1 / (1 / 49) is a little less than 49


def _request(resources: Resources, cluster: dict[str, float]) -> dict[str, float]:
    gpus, cpus = cluster.get("GPU", 0.0), cluster.get("CPU", 0.0)
    gpu = resources.gpu
    if gpu is None:
        gpu = (
            1.0 / min(_GPU_SHARES, max(1, round(cpus / resources.cpu / gpus)))
            if gpus and resources.cpu
            else min(gpus, 1.0)
        )
    for name, wanted, there in (("cpu", resources.cpu, cpus), ("gpu", gpu, gpus)):
        if wanted > there:
            raise SpaceError(f"resources: a trial asks for {wanted:g} {name}, but Ray has {there:g} in all")
    return {"cpu": resources.cpu, "gpu": gpu}
