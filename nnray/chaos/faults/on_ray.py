"""Processes of a Ray cluster that are killed while it trains a study."""

from __future__ import annotations

from nnray.chaos.cluster import Cluster, runners
from nnray.chaos.faults.fault import Fault
from nnray.chaos.stage import Stage


class WorkerKilled(Fault):
    """SIGKILL of a worker that trains; the command goes on by itself."""

    name = "worker"
    about = "SIGKILL of a Ray worker that trains a trial"
    on_ray = True
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Kill up to three of them, one after another."""
        cluster, command = _cluster(stage), stage.sweep()
        for _ in range(stage.random.randint(1, 3)):
            moment = stage.reach_moment(command)
            running = runners(stage.store)
            if running and cluster.kill(stage.random.choice(running)):
                stage.note(f"SIGKILL of a worker {moment}", kills=1)
        if stage.end_of(command) != 0:
            stage.broken.append(f"nnray sweep ended with status {command.status} when workers were killed")


class DriverKilled(Fault):
    """SIGKILL of the command; its workers end a moment later."""

    name = "driver"
    about = "SIGKILL of a command whose trials are trained by Ray's workers"
    on_ray = True
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Kill it."""
        command = stage.sweep()
        moment = stage.reach_moment(command)
        if command.status is None:
            command.kill()
            stage.note(f"SIGKILL of the driver {moment}", kills=1)
        else:
            stage.note(f"ended before it could be killed {moment}")


class NodeLost(Fault):
    """A node goes, with all processes on it."""

    name = "node"
    about = "a node is lost (on a cluster that is not ours: all workers on one)"
    on_ray = True
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Lose one; the command goes on by itself."""
        command = stage.sweep()
        moment = stage.reach_moment(command)
        stage.note(f"{_cluster(stage).lose_node(stage.store, stage.random)} {moment}", kills=1)
        if stage.end_of(command) != 0:
            stage.broken.append(f"nnray sweep ended with status {command.status} when a node was lost")


def _cluster(stage: Stage) -> Cluster:
    assert stage.cluster is not None  # every fault on Ray gets one
    return stage.cluster
