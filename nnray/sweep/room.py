"""Which trials fit beside those that run, on the one machine that a command has for itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nnray.sweep.cluster.capacity import Bundle

_STEPS = 10_000
"""Ray counts resources in ten-thousandths."""


@dataclass(frozen=True)
class Request:
    """What a trial asks of a cluster.

    Attributes:
        bundle: What each of its workers occupies: see :meth:`nnray.sweep.cluster.capacity.Capacity.bundle`.
        workers: How many there are.
    """

    bundle: Bundle
    workers: int = 1


class Room:
    """Keeps count of what is free.

    A trial that is handed to Tune and has to wait makes Tune ask Ray for a worker of its own, which it never gets: a
    placement group made and removed per trial. So on a machine of its own a command hands out only what fits. On a
    cluster that others use, or that grows with what is asked of it, it is left to Ray.

    Args:
        node: What the machine has, ``{"cpu": 2.0, "gpu": 1.0}``; None where Ray is to say what fits.
        at_a_time: Bound on the number of trials that run; None for no bound.
    """

    def __init__(self, node: Bundle | None, at_a_time: int | None = None) -> None:
        self._node = node
        self._at_a_time = math.inf if at_a_time is None else at_a_time
        self._running: dict[str, Request] = {}

    @property
    def is_full(self) -> bool:
        """Whether nothing fits, whatever it asks for."""
        return len(self._running) >= self._at_a_time

    def fits(self, request: Request) -> bool:
        """Tell whether a trial fits now; one that asks for more than there is fits alone, for Ray to judge."""
        if self.is_full:
            return False
        if self._node is None or not self._running:
            return True
        bundles = [each.bundle for each in (*self._running.values(), request) for _ in range(each.workers)]
        cores = sum(_steps(bundle["cpu"]) for bundle in bundles)
        # One that asks for no core fits once per core, as everywhere.
        count = sum(not any(bundle.values()) for bundle in bundles)
        if cores > _steps(self._node["cpu"]) or count > max(1.0, self._node["cpu"]):
            return False
        return _fit_on_gpus((bundle["gpu"] for bundle in bundles), int(self._node["gpu"]))

    def occupy(self, trial: str, request: Request) -> None:
        """Note that ``trial`` runs."""
        self._running[trial] = request

    def release(self, trial: str) -> None:
        """Note that ``trial`` has ended."""
        self._running.pop(trial, None)


def _steps(amount: float) -> int:
    return math.floor(amount * _STEPS + 1e-6)


def _fit_on_gpus(amounts: Iterable[float], gpus: int) -> bool:
    """Tell whether GPUs and shares of them fit on so many; a share is never put together from parts of several."""
    free = [_STEPS] * gpus
    for amount in sorted(amounts, reverse=True):
        parts = [_STEPS] * int(amount) if amount >= 1 else [_steps(amount)]
        for part in filter(None, parts):
            place = next((index for index, left in enumerate(free) if left >= part), None)
            if place is None:
                return False
            free[place] -= part
    return True
