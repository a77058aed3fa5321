"""Searchers by name, and what is said of those that do not exist."""

import importlib.util

import pytest
from ray.tune.search.optuna import OptunaSearch

from nnray.errors import SpaceError
from nnray.sweep.search.axes import Choice, Number
from nnray.sweep.search.catalogue import describe, make_searcher, objectives_of

AXES = {"optimizer.lr": Number(1e-4, 1e-1, log=True), "model.width": Choice.of([8, 16])}
ONE, TWO = {"val_acc": "max"}, {"val_acc": "max", "val_loss": "min"}


def make(search, axes=AXES, objectives=ONE):
    return make_searcher(search, axes, objectives, budget=10, seed=0)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("optunna", "there is no searcher 'optunna'; did you mean 'optuna'"),
        ({"sampler": "tpe"}, "there is no searcher None"),
        ({"name": "optuna", "sampler": "tpee"}, "sampler: Optuna has no 'tpee'; did you mean 'tpe'"),
        ({"name": "optuna", "sampler": 3}, "sampler: a name or a sampler of Optuna is expected, not 3"),
        (
            {"name": "optuna", "n_startup": 3},
            "Optuna's TPESampler has no argument 'n_startup'; did you mean 'n_st",
        ),
        ({"name": "nevergrad", "optimizer": "OnePlusTwo"}, "Nevergrad has no optimizer 'OnePlusTwo'; did you mean"),
        (
            {"name": "nevergrad", "workers": 2},
            "Nevergrad's optimizers have no argument 'workers'; did you mean 'nu",
        ),
        ({"name": "random", "sampler": "x"}, "random has no argument 'sampler'"),
        ({"name": "optuna", "seed": 0.5}, "seed: 0.5 is not a whole number"),
        (3, "a name .* or a searcher of Ray Tune is expected, not 3"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_the_nearest_right_thing(search, message):
    with pytest.raises(SpaceError, match=f"^search: {message}"):
        make(search)


def test_a_package_that_is_missing_is_named_for_pip():
    assert importlib.util.find_spec("ax") is None, "of use only where Ax is not installed"
    with pytest.raises(SpaceError, match=r"^search: ax needs a package .*: pip install ax-platform$"):
        make("ax")


def test_a_searcher_that_takes_one_objective_says_so():
    with pytest.raises(SpaceError, match="'cmaes' takes one objective"):
        make({"name": "optuna", "sampler": "cmaes"}, objectives=TWO)


def test_what_ray_tunes_searchers_cannot_do_is_one_line():
    with pytest.raises(SpaceError, match=r"^search: BayesOptSearch: "):
        make("bayesopt")  # takes no choices


def test_a_searcher_with_a_space_of_its_own_beside_that_of_the_sweep():
    import optuna

    own = OptunaSearch({"optimizer.lr": optuna.distributions.FloatDistribution(0, 1)}, metric="val_acc", mode="max")
    with pytest.raises(SpaceError, match=r"OptunaSearch has a space of its own.*optimizer\.lr, model\.width"):
        make(own)


def test_nothing_that_varies():
    with pytest.raises(SpaceError, match="nothing varies"):
        make("optuna", axes={})


@pytest.mark.parametrize(
    ("search", "title"),
    [
        ("random", "random"),
        ({"name": "optuna", "sampler": "cmaes"}, "optuna (cmaes)"),
        ({"name": "nevergrad", "optimizer": "PSO"}, "nevergrad (PSO)"),
        (OptunaSearch(), "OptunaSearch"),
    ],
    ids=["random", "optuna", "nevergrad", "object"],
)
def test_titles(search, title):
    assert describe(search) == title


def test_objectives_come_from_the_searcher_where_it_has_some():
    assert objectives_of("optuna", "val_acc", "max") == ONE
    assert objectives_of({"name": "optuna", "objectives": TWO}, "val_acc", "max") == TWO
    assert objectives_of(OptunaSearch(), "val_acc", "max") == ONE
    both = OptunaSearch(metric=["val_acc", "val_loss"], mode=["max", "min"])
    assert objectives_of(both, "other", "max") == TWO
