"""Times of calls that take turns, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_SECONDS_PER_TURN = 0.02  # far more than the clock's resolution; shorter calls are repeated
_MOST_ROUNDS = 2000


@dataclass(frozen=True)
class Effort:
    """How long to measure: for `seconds`, but at least `rounds` rounds, in each of which every side has one turn."""

    seconds: float
    rounds: int


def take_turns(sides: Mapping[str, Callable[[], Any]], device: str, effort: Effort) -> dict[str, list[float]]:
    """Return seconds per call, for each side one figure a round, of rounds that start with each side in turn.

    On CPU it is the processor time of this process, which other processes disturb less than the clock's; on GPU it is
    the clock's, after synchronising.
    """
    names = list(sides)
    for name in names:
        _seconds(sides[name], device, 3)
    repeats = {name: max(1, round(_SECONDS_PER_TURN / _seconds(sides[name], device, 1))) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + effort.seconds
    done = 0
    while done < effort.rounds or (time.perf_counter() < end and done < _MOST_ROUNDS):
        first = done % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(_seconds(sides[name], device, repeats[name]))
        done += 1
    return times


def quartiles_of_ratios(times: list[float], base: list[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile of the rounds' ratios."""
    return statistics.quantiles([ours / theirs for ours, theirs in zip(times, base, strict=True)], n=4)


def _seconds(call: Callable[[], Any], device: str, repeats: int) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    _synchronize(device)
    start = clock()
    for _ in range(repeats):
        call()
    _synchronize(device)
    return (clock() - start) / repeats


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
