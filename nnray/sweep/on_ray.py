"""Run a sweep on Ray Tune, with warm workers that train one trial after another."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from nnray.space.resources import Resources
from nnray.sweep.capacity import capacity_of_cluster
from nnray.sweep.code_snapshot import CodeSnapshot
from nnray.sweep.launch import Execute
from nnray.sweep.observer import Observer
from nnray.sweep.queue import TrialQueue
from nnray.sweep.ray_cluster import joined
from nnray.training.runner import Run


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray.

    Attributes:
        address: The cluster to join; None for $RAY_ADDRESS, or else this machine.
        max_concurrent: Bound on the number of trials at a time; None for as many as fit.
        resources: What one trial occupies.
        code: The modules of a person's own that workers import; left out, as they are now.
    """

    address: str | None = None
    max_concurrent: int | None = None
    resources: Resources = dataclasses.field(default_factory=Resources)
    code: CodeSnapshot = dataclasses.field(default_factory=lambda: CodeSnapshot.take(sys.path))


@contextmanager
def ray_executor(options: RayOptions) -> Iterator[Execute]:
    """Join a cluster, or start Ray here, and yield what trains the trials of a queue there.

    Raises:
        SpaceError: If the cluster cannot be joined, or a trial asks for more than a node of it has.
    """
    with joined(options.address) as is_ours:
        capacity = capacity_of_cluster()
        request = capacity.bundle(options.resources)
        slots = max(1, capacity.slots(request))
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(slots, 64))
        at_a_time = options.max_concurrent
        if is_ours:
            # A trial that waits makes Tune ask for a worker of its own, which it never gets: a placement group made and
            # removed per trial. On a cluster that others use or that can grow, Tune must ask to be given more.
            at_a_time = min(slots, at_a_time or slots)
        yield partial(_run, request=request, at_a_time=at_a_time, slots=slots, code=options.code)


def _run(
    queue: TrialQueue,
    run: Run,
    observer: Observer,
    request: dict[str, float],
    at_a_time: int | None,
    slots: int,
    code: CodeSnapshot,
) -> None:
    from ray import tune

    from nnray.sweep import worker
    from nnray.sweep.tune_hooks import WORKER_DEATHS, Messenger, QueueSearcher

    if queue.is_fed:
        at_a_time = at_a_time or slots  # what waits for room was proposed without the results of what runs meanwhile
    train = tune.with_parameters(worker.train, run=run, code=code)
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
