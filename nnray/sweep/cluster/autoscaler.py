"""Where a cluster has an autoscaler: which nodes it may add, and asking it for all of them at once.

Left alone, an autoscaler sees only the few trials that Tune has made so far. A request through
``ray.autoscaler.sdk.request_resources`` outlives the program that made it and there is one per cluster, so an actor
holds it: it adds up what several commands ask for, and drops what a command asked for that is no longer heard of.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nnray.sweep.cluster.capacity import Bundle, bundle_of

_MOST_BUNDLES = 1_000
"""Ask for no more trials than that at a time: a cluster of more nodes is not made in one step anyway."""
_RENEW_S = 5.0
_LEASE_S = 60.0
_ANSWER_S = 30.0
_KEEPER = {"name": "nnray-demand", "namespace": "nnray", "lifetime": "detached", "get_if_exists": True, "num_cpus": 0}


def addable_nodes() -> tuple[Bundle, ...] | None:
    """Return each node that the cluster's autoscaler may add: none without one, None if it does not tell.

    Ray tells it nowhere, so a task on the head node looks at how the autoscaler was started.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    head = _head_node()
    if head is None:
        return None
    task = ray.remote(num_cpus=0, max_retries=0)(_nodes_that_this_head_may_add)
    on_head = NodeAffinitySchedulingStrategy(head, soft=False)
    try:
        nodes = ray.get(task.options(scheduling_strategy=on_head).remote(), timeout=_ANSWER_S)
    except ray.exceptions.RayError:
        return None
    return None if nodes is None else tuple(map(bundle_of, nodes))


@contextmanager
def demand(wanted: Callable[[], list[Bundle]]) -> Iterator[None]:
    """Ask the autoscaler for room for all trials at once, until the end of the block or of this process.

    Args:
        wanted: Tells, from another thread, what those occupy that have no result yet.
    """
    who = uuid.uuid4().hex
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            bundles = [{name.upper(): amount for name, amount in bundle.items() if amount} for bundle in wanted()]
            _hold(who, bundles[:_MOST_BUNDLES])
            stop.wait(_RENEW_S)

    thread = threading.Thread(target=ask, name="nnray-demand", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_ANSWER_S)
        _hold(who, [])


def _hold(who: str, bundles: list[dict[str, float]]) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    head = _head_node()
    on_head = NodeAffinitySchedulingStrategy(head, soft=True) if head else "DEFAULT"
    with contextlib.suppress(ray.exceptions.RayError, ValueError):  # it is asked again in a moment
        keeper = ray.remote(_Keeper).options(**_KEEPER, scheduling_strategy=on_head).remote()
        ray.get(keeper.hold.remote(who, bundles, _LEASE_S), timeout=_ANSWER_S)


class _Keeper:
    """A Ray actor that asks the autoscaler for what all commands together want, and ends with the last of them."""

    def __init__(self) -> None:
        self._leases: dict[str, tuple[list[dict[str, float]], float]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def hold(self, who: str, bundles: list[dict[str, float]], seconds: float) -> None:
        """Ask for ``bundles``, in place of what the same command wanted before, for so long."""
        with self._lock:
            self._leases[who] = bundles, time.monotonic() + (seconds if bundles else 0.0)
            self._ask()

    def _watch(self) -> None:
        import ray

        while True:
            time.sleep(1.0)
            with self._lock:
                late = [who for who, (_, until) in self._leases.items() if until < time.monotonic()]
                for who in late:
                    del self._leases[who]
                if late:
                    self._ask()
                    if not self._leases:
                        ray.kill(ray.get_runtime_context().current_actor)
                        return

    def _ask(self) -> None:
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=[bundle for bundles, _ in self._leases.values() for bundle in bundles])


def _head_node() -> str | None:
    import ray

    heads = (node["NodeID"] for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"])
    return next(heads, None)


def _nodes_that_this_head_may_add() -> list[dict[str, Any]] | None:
    """Return the resources of each node in the configuration of the autoscaler that runs on this host.

    Without an autoscaler Ray runs the same program without a configuration; where it runs elsewhere (Kubernetes), there
    is none.
    """
    import ray

    cluster = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    monitors = [
        words for words in _command_lines() if cluster in words and any(word.endswith("/monitor.py") for word in words)
    ]
    for words in monitors:
        files = [word.partition("=")[2] for word in words if word.startswith("--autoscaling-config=")]
        for file in files:
            with contextlib.suppress(OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
                return _nodes_in(yaml.safe_load(Path(file).expanduser().read_text()))
    return [] if monitors else None


def _nodes_in(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit = cluster.get("max_workers", 2)
    return [
        kind["resources"]
        for name, kind in cluster["available_node_types"].items()
        if name != cluster["head_node_type"]
        for _ in range(min(kind.get("max_workers", limit), limit))
    ]


def _command_lines() -> Iterator[list[str]]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield file.read_bytes().decode(errors="replace").split("\0")
