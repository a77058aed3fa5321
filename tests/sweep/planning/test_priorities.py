"""Which trials start first: guesses of how long they take, and what the order does to the end of a sweep."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from nnray import Sweep, grid
from nnray.space.resources import Resources
from nnray.store.listing import SweepListing
from nnray.store.record import Record, now
from nnray.store.tables import write_tables
from nnray.sweep.planning.plan import Plan, PlannedTrial, make_plan
from nnray.sweep.planning.priorities import prioritised
from nnray.trial.paths import StorePaths

BASE = {"model": "MLP", "data": "Digits", "trainer.max_epochs": 10}


def _plan(store: StorePaths, name: str = "s", **sweep: Any) -> Plan:
    return make_plan(Sweep(name=name, base=BASE, **sweep), store, Path())


def _complete(plan: Plan, seconds: Callable[[PlannedTrial], float]) -> None:
    """Write a store in which the plan's trials are complete and took so long."""
    plan.apply()
    for trial in plan.trials:
        record = Record(trial.configuration.full_signature, "completed", started=now(), ended=now())
        dataclasses.replace(record, duration_s=seconds(trial)).write(trial.paths.record)


def _width(trial: PlannedTrial) -> int:
    return trial.configuration.values["model"]["init_args"]["width"]


def _makespan(seconds: Iterable[float], workers: int) -> float:
    """Return when the last of the trials ends, if each worker takes the next one as soon as it is free."""
    free = [0.0] * workers
    for duration in seconds:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def test_the_longest_come_first_and_the_end_is_not_alone(store: StorePaths) -> None:
    # The narrow ones take longest here, so that only what was recorded can tell.
    took = {8: 100.0, 16: 1.0, 32: 10.0, 64: 60.0}
    _complete(_plan(store, space={"model.width": grid(*took), "seed": 0}), lambda trial: took[_width(trial)])
    plan = _plan(store, space={"seed": grid(range(4)), "model.width": grid(16, 32, 64, 8)})
    order = prioritised(plan)
    assert [_width(trial) for trial in order] == [8] * 3 + [64] * 3 + [32] * 3 + [16] * 3
    given, chosen = ([took[_width(trial)] for trial in trials] for trials in (plan.todo, order))
    best = max(max(given), sum(given) / 2)
    assert _makespan(chosen, 2) <= (4 / 3 - 1 / 6) * best < _makespan(given, 2)


def test_epochs_count(store: StorePaths) -> None:
    plan = _plan(store, space={"trainer.max_epochs": grid(1, 30, 20)})
    assert [trial.configuration.values["trainer"]["max_epochs"] for trial in prioritised(plan)] == [30, 20, 1]


def test_without_earlier_trials_larger_networks_count_as_longer(store: StorePaths) -> None:
    plan = _plan(store, space={"model.width": grid(16, 4096, 256)})
    assert [_width(trial) for trial in prioritised(plan)] == [4096, 256, 16]


def test_the_tables_of_other_sweeps_tell_too(store: StorePaths) -> None:
    earlier = _plan(store, name="earlier", space={"model.width": grid(16, 32)}, replicates=2)
    _complete(earlier, lambda trial: 100.0 if _width(trial) == 16 else 1.0)
    listing = SweepListing(store, "earlier")
    listing.rescan()
    write_tables(store, "earlier", listing.trials())
    plan = _plan(store, space={"model.width": grid(32, 16), "optimizer.lr": 0.5})
    assert [_width(trial) for trial in prioritised(plan)] == [16, 32]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"], ids=["empty", "damaged"])
def test_a_damaged_table_tells_nothing(store: StorePaths, content: bytes) -> None:
    store.table("earlier", "trials").parent.mkdir(parents=True)
    store.table("earlier", "trials").write_bytes(content)
    assert len(prioritised(_plan(store, space={"seed": grid(range(2))}))) == 2


def test_resumed_ones_come_before_longer_ones(store: StorePaths) -> None:
    plan = _plan(store, space={"model.width": grid(1024, 16)})
    begun = dataclasses.replace(plan, trials=(plan.trials[0], dataclasses.replace(plan.trials[1], state="resume")))
    assert [_width(trial) for trial in prioritised(begun)] == [16, 1024]


def test_what_asks_for_more_comes_first(store: StorePaths) -> None:
    plan = _plan(
        store,
        space={"model.width": grid(1024, 16, 8)},
        resources=lambda values: {"cpu": 1, "workers": 2 if values["model"]["init_args"]["width"] == 16 else 1},
    )
    assert [_width(trial) for trial in prioritised(plan)] == [16, 1024, 8]
    assert Resources(cpu=1.0, workers=2) == prioritised(plan)[0].resources


def test_equal_guesses_keep_shapes_together_in_the_order_of_the_sweep(store: StorePaths) -> None:
    plan = _plan(store, space={"seed": grid(range(3)), "optimizer.lr": grid(0.1, 0.2)})
    assert prioritised(plan) == plan.todo
