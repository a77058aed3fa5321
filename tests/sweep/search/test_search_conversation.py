"""A search that was interrupted and started again proposes what it would have proposed anyway."""

import math
import random

import numpy as np
import pytest
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.nevergrad import NevergradSearch
from ray.tune.search.optuna import OptunaSearch

from nnray.sweep.search.axes import Choice, Number
from nnray.sweep.search.catalogue import make_searcher
from nnray.sweep.search.conversation import Conversation
from nnray.sweep.search.searcher import FAILURE, Evaluation
from nnray.sweep.search.space import SearchSpace

NUMBERS = {
    "lr": Number(1e-4, 1e-1, log=True),
    "dropout": Number(0.0, 0.9, step=0.1),
    "width": Number(4, 64, True, 1, True),
}
AXES = {**NUMBERS, "kind": Choice.of(["a", "b", {"c": 1}])}
ONE, TWO = {"loss": "min"}, {"loss": "min", "score": "max"}
POINTS = 16


def seeded_optuna():
    import optuna

    return OptunaSearch(sampler=optuna.samplers.TPESampler(seed=3))


def unseeded_nevergrad():
    import nevergrad

    return NevergradSearch(nevergrad.optimizers.OnePlusOne)


SEARCHERS = {
    "random": ("random", AXES, ONE),
    "tpe": ("optuna", AXES, ONE),
    "cmaes": ({"name": "optuna", "sampler": "cmaes"}, NUMBERS, ONE),
    "qmc": ({"name": "optuna", "sampler": "qmc"}, NUMBERS, ONE),
    "nsgaii": ({"name": "optuna", "sampler": "nsgaii", "population_size": 4}, AXES, TWO),
    "tpe of two": ({"name": "optuna", "seed": 5}, AXES, TWO),
    "NGOpt": ("nevergrad", AXES, ONE),
    "OnePlusOne": ({"name": "nevergrad", "optimizer": "OnePlusOne"}, AXES, ONE),
    "DE": ({"name": "nevergrad", "optimizer": "TwoPointsDE"}, AXES, TWO),
    "one by one": ({"name": "nevergrad", "optimizer": "RPowell"}, NUMBERS, ONE),
    "Ray's Optuna": (seeded_optuna, AXES, ONE),
    "Ray's Optuna, two at a time": (lambda: ConcurrencyLimiter(seeded_optuna(), 2), AXES, ONE),
    "Ray's Nevergrad, which draws from NumPy": (unseeded_nevergrad, AXES, ONE),
    "Ray's, by name": ("bayesopt", {"lr": Number(1e-4, 1e-1), "dropout": Number(0.0, 0.7)}, ONE),
}
"""What to search with, the space, the objectives."""


def conversation(search, axes, objectives, seed=0):
    search = search() if callable(search) else search
    searcher = make_searcher(search, axes, objectives, budget=POINTS, seed=seed)
    return Conversation(searcher, SearchSpace(axes, frozenset(), {}), seed)


def evaluation(point, objectives):
    """A bowl, with failures."""
    if point["dropout"] > 0.75:
        return FAILURE
    loss = (math.log10(point["lr"]) + 2.5) ** 2 + point["dropout"] + 0.01 * abs(point.get("width", 20) - 20)
    values = (loss, -abs(point.get("width", 0) - 40))[: len(objectives)]
    return Evaluation(values, ({"loss": loss + 1, "score": 0.0}, {"loss": loss, "score": values[-1]}))


def go_on(talk, asks, objectives, count, at_a_time, chance):
    """Ask and tell until there are ``count`` asks, in an order that ``chance`` decides; the asks as recorded."""
    while len(asks) < count:
        running = [index for index, ask in enumerate(asks) if ask.told is None]
        ask = talk.ask() if len(running) < at_a_time and (not running or chance.random() < 0.6) else None
        if ask is not None:
            asks.append(ask)
        else:
            assert running, "it waits for nothing"
            index = chance.choice(running)
            asks[index] = talk.tell(asks[index], evaluation(asks[index].point, objectives))
    return asks


@pytest.mark.parametrize("at_a_time", [1, 3], ids=["one at a time", "three at a time"])
@pytest.mark.parametrize("case", SEARCHERS.values(), ids=SEARCHERS)
def test_interrupted_or_not_the_points_are_the_same(case, at_a_time):
    objectives = case[2]
    whole = go_on(conversation(*case), [], objectives, POINTS, at_a_time, random.Random(1))
    assert len({tuple(ask.point.items()) for ask in whole}) > POINTS / 2

    chance, asks = random.Random(1), []
    for count in (3, 11, POINTS):
        np.random.rand(count)  # whatever else has happened in the process
        talk = conversation(*case)
        shuffled = sorted(((ask, str(ask.number)) for ask in asks), key=lambda pair: str(pair[0].point))
        talk.replay(shuffled, lambda ask, _: evaluation(ask.point, objectives))
        assert not talk.diverged
        asks = go_on(talk, asks, objectives, count, at_a_time, chance)
    assert asks == whole


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "OnePlusOne", "Ray's Optuna"])
def test_in_another_space_what_is_known_is_told_all_the_same(name):
    search, axes, objectives = SEARCHERS[name]
    before = go_on(conversation(search, axes, objectives), [], objectives, POINTS, 1, random.Random(1))
    smaller = {**axes, "lr": Number(1e-3, 1e-1, log=True)}
    fitting = [ask for ask in before if ask.point["lr"] in smaller["lr"]]
    assert 0 < len(fitting) < POINTS
    talk = conversation(search, smaller, objectives)
    talk.replay([(ask, "") for ask in fitting], lambda ask, _: evaluation(ask.point, objectives))
    assert talk.diverged
    assert talk.untellable == 0
    after = talk.ask()
    assert after.number == max(ask.number for ask in fitting) + 1
    assert after.asked > max(ask.told or 0 for ask in fitting)
    assert after.point["lr"] in smaller["lr"]


def test_a_searcher_that_can_only_be_told_of_what_it_asked_for():
    search, axes, objectives = SEARCHERS["one by one"]
    asks = go_on(conversation("random", axes, objectives), [], objectives, 3, 1, random.Random(1))
    talk = conversation(search, axes, objectives)
    talk.replay([(ask, "") for ask in asks], lambda ask, _: evaluation(ask.point, objectives))
    assert talk.untellable == sum(ask.told is not None for ask in asks)
    assert talk.ask() is not None


@pytest.mark.parametrize("name", ["tpe", "cmaes", "OnePlusOne", "NGOpt", "Ray's Optuna"])
def test_it_searches(name):
    """More is found where the results are told than where they are kept back."""
    search, axes, objectives = SEARCHERS[name]

    def best(seed, told):
        talk = conversation(search if callable(search) else {**_named(search), "seed": seed}, axes, objectives, seed)
        values = []
        for _ in range(30):
            ask = talk.ask()
            value = evaluation(ask.point, objectives)
            values.append(value.values[0] if value.values else math.inf)
            talk.tell(ask, value if told else Evaluation((0.0,), value.epochs))
        return min(values)

    assert np.mean([best(seed, True) for seed in range(4)]) < np.mean([best(seed, False) for seed in range(4)])


def _named(search):
    return {"name": search} if isinstance(search, str) else search


def test_the_global_generators_are_left_as_they_were():
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).rand()
    conversation(*SEARCHERS["Ray's Nevergrad, which draws from NumPy"]).ask()
    assert (random.random(), np.random.rand()) == expected
