"""The Ray cluster whose processes are killed: three small nodes on this machine, or one that is there already."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from nnray.errors import SpaceError
from nnray.loopback import on_loopback
from nnray.store.claim import claim_facts, is_claimed
from nnray.store.membership import trial_folders
from nnray.trial.paths import StorePaths

_OBJECT_STORE_BYTES = 80_000_000
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


@dataclass(frozen=True)
class Runner:
    """A process that is training a trial.

    Attributes:
        host: Its machine's name.
        pid: Its number there.
    """

    host: str
    pid: int


def runners(store: StorePaths) -> list[Runner]:
    """Return the processes that are training trials of ``store``."""
    found = []
    for paths in trial_folders(store):
        if is_claimed(paths.claim):
            owner = claim_facts(paths.claim)
            found.append(Runner(owner["host"], owner["pid"]))
    return found


class Cluster:
    """A Ray cluster that this process has joined.

    Args:
        address: Where its head is.
        nodes: The ``ray.cluster_utils.Cluster`` that it is, if it was started here.
    """

    def __init__(self, address: str, nodes: Any = None) -> None:
        self.address = address
        self._nodes = nodes

    def kill(self, runner: Runner) -> bool:
        """Kill a process on its host; tell whether it was there."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] == runner.host]
        if not there:
            return False
        strategy = NodeAffinitySchedulingStrategy(there[0], soft=False)
        return bool(ray.get(ray.remote(_kill).options(num_cpus=0, scheduling_strategy=strategy).remote(runner.pid)))

    def lose_node(self, store: StorePaths, random: Random) -> str:
        """Kill a node and start another one; on a cluster that is not ours, all runners of one host."""
        if self._nodes is not None:
            node = random.choice(sorted(self._nodes.worker_nodes, key=lambda node: node.unique_id))
            self._nodes.remove_node(node, allow_graceful=False)
            _add_node(self._nodes)
            return "a node lost and another one started"
        running = runners(store)
        if not running:
            return "no node was at work"
        host = random.choice(running).host
        killed = sum(self.kill(runner) for runner in running if runner.host == host)
        return f"SIGKILL of {killed} workers on {host}"


@contextmanager
def cluster_at(address: str | None) -> Iterator[Cluster]:
    """Join the cluster at ``address``, or start one here for as long as the block runs: two nodes of one core each.

    Raises:
        SpaceError: If it cannot be joined.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    import ray

    if address is not None:
        try:
            ray.init(address, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SpaceError(f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}") from error
        yield Cluster(address)
        ray.shutdown()
        return
    from ray.cluster_utils import Cluster as Nodes

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of these processes alone, on the loopback
    head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    with on_loopback():
        nodes = Nodes(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                _add_node(nodes)
            ray.init(nodes.address, log_to_driver=False)
            yield Cluster(nodes.address, nodes)
        finally:
            ray.shutdown()
            nodes.shutdown()


def _add_node(nodes: Any) -> None:
    nodes.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE_BYTES)


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
