"""Run a sweep on Ray Tune, with warm workers that train one trial after another."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import SpaceError
from nnray.space.resources import Resources
from nnray.sweep.cluster.autoscaler import demand
from nnray.sweep.cluster.capacity import Bundle, capacity_of_cluster
from nnray.sweep.cluster.local_ray import LocalRay
from nnray.sweep.cluster.ray_cluster import joined
from nnray.sweep.cluster.store_probe import check_store
from nnray.sweep.launch import Execute
from nnray.sweep.observer import Observer
from nnray.sweep.queue import TrialQueue
from nnray.sweep.room import Request, Room
from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
from nnray.sweep.workers.retry import MAX_LOSSES, Retries, larger
from nnray.training.runner import Run

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

    from nnray.sweep.scheduling import Steering

_WAITING_TRIALS = 64
"""So many trials wait for room at least, where a scheduler weighs them against each other."""


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray.

    Attributes:
        address: The cluster to join; None for $RAY_ADDRESS, or else this machine.
        max_concurrent: Bound on the number of trials at a time; None for as many as fit.
        resources: What trials occupy, each kind once; refused before anything is written if the cluster never has it.
        code: The modules of a person's own that workers import; left out, as they are now.
        steering: What stops trials early, or sets them aside; None if all are trained to their end.
        store: The store's folder, which every node of a cluster is asked about first; None to trust that they see it.
        local: Ray on this machine that has begun to start; None to start it when it is needed.
    """

    address: str | None = None
    max_concurrent: int | None = None
    resources: Collection[Resources] = ()
    code: CodeSnapshot = dataclasses.field(default_factory=lambda: CodeSnapshot.take(sys.path))
    steering: Steering | None = None
    store: Path | None = None
    local: LocalRay | None = None


@contextmanager
def ray_executor(options: RayOptions) -> Iterator[Execute]:
    """Join a cluster, or start Ray here, and yield what trains the trials of a queue there.

    Raises:
        SpaceError: If the cluster cannot be joined, or a trial asks for more than a node of it has.
        StoreError: If a node cannot use the store.
    """
    with joined(options.address, options.local) as is_ours:
        capacity = capacity_of_cluster(is_ours)

        @functools.cache
        def request_of(resources: Resources) -> Request:
            bundle, workers = capacity.bundle(resources), resources.workers
            if workers > 1 and not capacity.grows and capacity.slots(bundle) < workers:
                room = capacity.slots(bundle)
                raise SpaceError(f"resources: a trial asks for {workers} workers, but there is room for {room}")
            return Request(bundle, workers)

        requests = [request_of(resources) for resources in options.resources]
        if options.store is not None and not is_ours:
            check_store(options.store)
        slots = max([1, *(capacity.most_slots(request.bundle) // request.workers for request in requests)])
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(slots, 64))
        node = capacity.nodes[0] if is_ours else None
        at_a_time = options.max_concurrent
        steering = options.steering
        if steering is not None and steering.pauses:  # a trial that is set aside makes room for another one
            node = None
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(slots, _WAITING_TRIALS))
        cores = max(kind["cpu"] for kind in capacity.nodes)

        def more(resources: Resources) -> Resources | None:
            return larger(resources, capacity.bundle(resources)["gpu"], cores)

        execute = partial(
            _run,
            node=node,
            at_a_time=at_a_time,
            slots=slots,
            request_of=request_of,
            retries=Retries(more, MAX_LOSSES if steering is None else 0),
            code=options.code,
            steering=steering,
        )
        if not capacity.grows:
            yield execute
            return

        def asking_for_nodes(queue: TrialQueue, run: Run, observer: Observer) -> None:
            with demand(lambda: _wanted(queue, requests, request_of, at_a_time or slots)):
                execute(queue, run, observer)

        yield asking_for_nodes


def _wanted(
    queue: TrialQueue, requests: Collection[Request], request_of: Callable[[Resources], Request], at_a_time: int
) -> list[Bundle]:
    """Return what the trials without a result occupy, ``at_a_time`` of them where results lead to further ones."""
    wanted = [request_of(resources) for resources, count in queue.wanted.items() for _ in range(count)]
    if queue.is_fed:
        wanted += list(requests)[:1] * at_a_time
    return [request.bundle for request in wanted for _ in range(request.workers)]


def _run(
    queue: TrialQueue,
    run: Run,
    observer: Observer,
    node: Bundle | None,
    at_a_time: int | None,
    slots: int,
    request_of: Callable[[Resources], Request],
    retries: Retries,
    code: CodeSnapshot,
    steering: Steering | None,
) -> None:
    from ray import tune

    from nnray.sweep.tune_hooks import Messenger, QueueSearcher
    from nnray.sweep.workers import worker

    if queue.is_fed and not (steering is not None and steering.pauses):
        at_a_time = at_a_time or slots  # what waits for room was proposed without the results of what runs meanwhile
    trainable = worker.train if steering is None else steering.trainable
    train = tune.with_parameters(trainable, run=run, code=code)
    searcher = QueueSearcher(queue, observer, Room(node, at_a_time), request_of, retries)
    with tempfile.TemporaryDirectory(prefix="nnray-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(train, _placement),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=steering is None or steering.reuses_workers,
                scheduler=steering,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                # A scheduler must see a lost trial go on as the same one; else retries depend on causes.
                failure_config=tune.FailureConfig(max_failures=0 if steering is None else MAX_LOSSES),
                callbacks=[Messenger(queue, observer, searcher)],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if steering is not None and steering.error is not None:
                raise steering.error from None
            raise


def _placement(config: dict[str, Any]) -> PlacementGroupFactory:
    """Return what Tune is to reserve for the trial of that configuration."""
    from ray.tune import PlacementGroupFactory

    request = config["request"]
    bundle = {"CPU": request["bundle"]["cpu"], "GPU": request["bundle"]["gpu"]}
    if request["workers"] > 1 or not any(bundle.values()):
        # Several workers reserve what they need themselves, and Tune cannot reserve nothing: a byte of memory.
        bundle = {"memory": 1}
    return PlacementGroupFactory([bundle])
