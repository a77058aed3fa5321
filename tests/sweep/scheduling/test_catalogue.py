"""Schedulers by name: every name is one, arguments are checked, and time is counted in epochs."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import (
    SCHEDULER_IMPORT,
    AsyncHyperBandScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)

from nnray.errors import SpaceError
from nnray.sweep.scheduling import make_scheduler, scheduler_names

NEEDS = {
    "pbt": {"hyperparam_mutations": {"optimizer.lr": [0.1, 0.01]}},
    "pb2": {"hyperparam_bounds": {"optimizer.lr": [0.001, 0.1]}},
}


def _make(spec: Any) -> Any:
    return make_scheduler(spec, "val_acc", "max", 20)


@pytest.mark.parametrize("name", scheduler_names())
def test_every_name_makes_a_scheduler_that_looks_at_the_sweeps_metric(name: str) -> None:
    scheduler = _make({"name": name, **NEEDS.get(name, {})})
    assert scheduler.metric == "val_acc"
    assert getattr(scheduler, "_time_attr", "training_iteration") == "training_iteration"


def test_ray_knows_no_name_that_is_missing_but_the_replay() -> None:
    assert set(SCHEDULER_IMPORT) - set(scheduler_names()) == {"pbt_replay"}


@pytest.mark.parametrize(
    ("name", "cls"),
    [("asha", AsyncHyperBandScheduler), ("ASHA", AsyncHyperBandScheduler), ("median", MedianStoppingRule)],
)
def test_common_names(name: str, cls: type) -> None:
    assert type(_make(name)) is cls


def test_defaults_fit_the_length_of_the_trials() -> None:
    assert _make("asha")._max_t == 20
    assert _make("hyperband")._max_t_attr == 20
    assert _make("median")._grace_period == 2
    assert _make({"name": "pbt", **NEEDS["pbt"]})._perturbation_interval == 2


def test_arguments_win() -> None:
    scheduler = _make({"name": "asha", "max_t": 9, "grace_period": 2, "reduction_factor": 3, "metric": "val_loss"})
    assert (scheduler._max_t, scheduler._reduction_factor, scheduler.metric) == (9, 3, "val_loss")
    assert scheduler._mode == "max"


def test_keys_of_mutations_are_written_out() -> None:
    assert list(_make({"name": "pbt", **NEEDS["pbt"]})._hyperparam_mutations) == ["optimizer.init_args.lr"]
    given = PopulationBasedTraining(hyperparam_mutations={"optimizer.lr": tune.loguniform(0.001, 0.1)})
    assert list(_make(given)._hyperparam_mutations) == ["optimizer.init_args.lr"]


def test_an_object_is_copied_and_keeps_what_it_has() -> None:
    given = HyperBandScheduler(metric="val_loss", mode="min", max_t=5)
    made = _make(given)
    assert made is not given
    assert (made.metric, made._mode, made._max_t_attr) == ("val_loss", "min", 5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ahsa", r"scheduler: there is no 'ahsa'; did you mean 'asha'\?"),
        (
            {"name": "asha", "grace_perod": 2},
            r"scheduler asha: there is no argument 'grace_perod'; did you mean 'grace_period'\?",
        ),
        ({"name": "asha", "grace_period": 50}, "scheduler asha: grace_period must be <= max_t!"),
        ({"name": "pbt"}, "scheduler pbt: You must specify at least one of `hyperparam_mutations`"),
        ({"grace_period": 2}, "scheduler: the dict has no 'name'"),
        (3, "scheduler: a name, a dict or a scheduler of Ray Tune is expected, not 3"),
        ("pbt_replay", "scheduler: there is no 'pbt_replay'"),
    ],
    ids=["name", "argument", "value", "needs", "nameless", "number", "replay"],
)
def test_what_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        _make(spec)
