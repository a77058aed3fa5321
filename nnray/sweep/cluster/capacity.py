"""What the nodes of a Ray cluster can give, and whether a trial fits one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnray.errors import SpaceError
from nnray.space.resources import Resources

_GPU_SHARES = 8
"""At most so many trials share a GPU where nobody has said how many."""
_TINY = 1e-6
"""1 / (1 / 49) is a little less than 49."""

_STEPS = 10_000
"""Ray counts resources in ten-thousandths."""

Bundle = dict[str, float]
"""What one process occupies on one node: ``{"cpu": 1.0, "gpu": 0.25}``."""


@dataclass(frozen=True)
class Capacity:
    """What there is.

    Attributes:
        nodes: What each node of the cluster has.
        addable: What each node has that an autoscaler may have added in the end: none where there is no autoscaler,
            None where it does not tell.
    """

    nodes: tuple[Bundle, ...]
    addable: tuple[Bundle, ...] | None = ()

    @property
    def grows(self) -> bool:
        """Whether an autoscaler may add nodes."""
        return self.addable != ()

    def slots(self, bundle: Mapping[str, float]) -> int:
        """Return how many times ``bundle`` fits the nodes that are there."""
        return sum(_times(bundle, node) for node in self.nodes)

    def most_slots(self, bundle: Mapping[str, float]) -> int:
        """Return how many times ``bundle`` fits once the autoscaler has added all that it may."""
        return max(self.slots(bundle), sum(_times(bundle, node) for node in self.addable or ()))

    def check(self, bundle: Mapping[str, float]) -> None:
        """Raise SpaceError if no node, neither there nor to be added, can ever hold ``bundle``."""
        if self.addable is None:
            return
        kinds = self.nodes + self.addable
        if any(_times(bundle, kind) for kind in kinds):
            return
        whose = "no node, nor any that the autoscaler may add," if self.grows else "no node"
        for name, wanted in bundle.items():
            most = max((kind.get(name, 0.0) for kind in kinds), default=0.0)
            if wanted > most + _TINY:
                raise SpaceError(f"resources: a trial asks for {wanted:g} {name}, but {whose} has more than {most:g}")
        asked = " and ".join(f"{wanted:g} {name}" for name, wanted in bundle.items())
        raise SpaceError(f"resources: a trial asks for {asked}, but {whose} has them together")

    def bundle(self, resources: Resources) -> Bundle:
        """Return what one worker of a trial occupies, with the share of a GPU that nobody has spelled out.

        Raises:
            SpaceError: If no node can ever give it.
        """
        gpu = self._gpu_share(resources.cpu) if resources.gpu is None else resources.gpu
        if gpu > 1 and gpu != int(gpu):
            raise SpaceError(f"resources: gpu is {gpu:g}, where a share of one GPU or a whole number is expected")
        bundle = {"cpu": _rounded(resources.cpu), "gpu": _rounded(gpu)}
        self.check(bundle)
        return bundle

    def _gpu_share(self, cpu: float) -> float:
        """Return the share of a GPU that lets as many trials run beside each other as there are cores for them."""
        with_gpus = [kind for kind in self.nodes + (self.addable or ()) if kind.get("gpu")]
        if not with_gpus:
            return 0.0
        gpus = sum(kind["gpu"] for kind in with_gpus)
        if not cpu:
            return min(gpus, 1.0)
        return 1.0 / min(_GPU_SHARES, max(1, round(sum(kind.get("cpu", 0.0) for kind in with_gpus) / cpu / gpus)))


def capacity_of_cluster(is_ours: bool) -> Capacity:
    """Return what the cluster has that this process has joined; one that was started here has no autoscaler."""
    import ray

    from nnray.sweep.cluster.autoscaler import addable_nodes

    return Capacity(
        tuple(bundle_of(node["Resources"]) for node in ray.nodes() if node["Alive"]), () if is_ours else addable_nodes()
    )


def bundle_of(resources: Mapping[str, Any]) -> Bundle:
    """Return Ray's resources of a node under nnray's names."""
    return {"cpu": float(resources.get("CPU", 0)), "gpu": float(resources.get("GPU", 0))}


def _rounded(amount: float) -> float:
    """Return what Ray makes of an amount, rounded down: three times a third must not be more than there is."""
    return math.floor(amount * _STEPS + _TINY) / _STEPS


def _times(bundle: Mapping[str, float], node: Mapping[str, float]) -> int:
    """Return how often a bundle fits a node; one that asks for nothing fits once per core."""
    room = [node.get(name, 0.0) / amount for name, amount in bundle.items() if amount]
    return int(min(room, default=max(1.0, node.get("cpu", 0.0))) + _TINY)
