"""Which hyperparameters a population may change, and what its trials are signed with."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from trials import configured

from nnray.errors import SpaceError
from nnray.space import Sweep
from nnray.sweep.scheduling import make_scheduler, population_source
from nnray.sweep.scheduling.perturbation import perturbed_keys


def _keys(mutations: dict[str, Any]) -> tuple[str, ...]:
    spec = {"name": "pbt", "hyperparam_mutations": mutations}
    return perturbed_keys(make_scheduler(spec, "val_acc", "max", 3), [configured({}), configured({"seed": 1})])


def test_what_can_change_while_a_trial_trains() -> None:
    mutations = {
        "optimizer.lr": tune.loguniform(1e-4, 1e-1),
        "optimizer.betas": [[0.9, 0.999], [0.8, 0.99]],
        "data.batch_size": [64, 128],
        "task.label_smoothing": tune.uniform(0.0, 0.2),
        "model.dropout": tune.uniform(0.0, 0.5),
        "trainer.gradient_clip_val": [0.1, 1.0],
    }
    assert len(_keys(mutations)) == 6


@pytest.mark.parametrize(
    ("mutations", "message"),
    [
        ({"optimizer.rate": [0.1]}, "there is no key 'optimizer.init_args.rate' in the configuration"),
        ({"seed": [1, 2]}, "seed cannot change while a trial trains; what can: arguments of optimizer, data"),
        ({"trainer.max_epochs": [3, 4]}, "trainer.max_epochs cannot change while a trial trains"),
        ({"model.width": [4, 8]}, "model.init_args.width changes the shape of the network"),
        ({"model.width": tune.randint(5, 9)}, "model.init_args.width changes the shape of the network"),
        ({"optimizer": {"init_args": {"lr": [0.1]}}}, "nested mutations are written as dotted keys"),
    ],
    ids=["unknown", "seed", "length", "shape", "drawn shape", "nested"],
)
def test_what_cannot(mutations: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        _keys(mutations)


def test_the_trials_of_a_population_are_equally_long() -> None:
    scheduler = make_scheduler({"name": "pbt", "hyperparam_mutations": {"optimizer.lr": [0.1]}}, "val_acc", "max", 3)
    with pytest.raises(SpaceError, match=r"must have the same trainer\.max_epochs"):
        perturbed_keys(scheduler, [configured({}), configured({"trainer.max_epochs": 5})])


def _source(scheduler: Any, name: str = "study") -> str | None:
    return population_source(Sweep(name=name, base={"data": "nnray.data.Digits"}, scheduler=scheduler))


@pytest.mark.parametrize("scheduler", ["asha", {"name": "hyperband", "reduction_factor": 4}, "median"])
def test_a_scheduler_that_only_stops_leaves_the_signature_alone(scheduler: Any) -> None:
    assert _source(scheduler) is None


def test_a_population_is_told_by_its_sweep_and_its_arguments() -> None:
    spec = {"name": "pbt", "hyperparam_mutations": {"optimizer.lr": tune.loguniform(1e-4, 1e-1)}}
    again = {"name": "pbt", "hyperparam_mutations": {"optimizer.init_args.lr": tune.loguniform(1e-4, 1e-1)}}
    other = {"name": "pbt", "hyperparam_mutations": {"optimizer.lr": tune.loguniform(1e-4, 1.0)}}
    source = _source(spec)
    assert source is not None
    assert source == _source(again)
    assert len({source, _source(other), _source({**spec, "synch": True}), _source(spec, name="another")}) == 4
    assert " at 0x" not in source


def test_a_population_given_as_an_object() -> None:
    def made(interval: int) -> PopulationBasedTraining:
        return PopulationBasedTraining(
            perturbation_interval=interval, hyperparam_mutations={"optimizer.lr": tune.loguniform(1e-4, 1e-1)}
        )

    assert _source(made(2)) == _source(made(2))
    assert _source(made(2)) != _source(made(3))
