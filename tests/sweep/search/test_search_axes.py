"""What a distribution says to a searcher: the same values as Ray Tune would draw, and no others."""

import math

import numpy as np
import pytest
from ray import tune

from nnray.errors import SpaceError
from nnray.space.distribution import Distribution
from nnray.sweep.search.axes import Choice, Number, axis_of

DISTRIBUTIONS = {
    "uniform": (tune.uniform(-1.0, 2.0), Number(-1.0, 2.0)),
    "quniform": (tune.quniform(0.1, 0.4, 0.1), Number(0.1, 0.4, step=0.1)),
    "loguniform": (tune.loguniform(1e-4, 1e-1), Number(1e-4, 1e-1, log=True)),
    "qloguniform": (tune.qloguniform(0.1, 1.0, 0.1), Number(0.1, 1.0, log=True, step=0.1)),
    "randint": (tune.randint(2, 6), Number(2, 5, step=1, whole=True)),
    "qrandint": (tune.qrandint(8, 32, 8), Number(8, 32, step=8, whole=True)),
    "qrandint by one": (tune.qrandint(2, 6, 1), Number(2, 5, step=1, whole=True)),
    "lograndint": (tune.lograndint(1, 9), Number(1, 8, log=True, step=1, whole=True)),
    "qlograndint": (tune.qlograndint(8, 64, 8), Number(8, 64, log=True, step=8, whole=True)),
    "choice": (tune.choice([4, "a", None, True]), Choice((4, "a", None, True), (4, "a", None, True))),
}


@pytest.mark.parametrize(("domain", "axis"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_a_distribution_of_ray_tune(domain, axis):
    assert axis_of("key", domain) == axis
    generator = np.random.default_rng(0)
    drawn = {axis.draw(generator) for _ in range(600)}
    assert all(value in axis for value in drawn)
    theirs = {axis.fit(domain.sample(random_state=np.random.RandomState(seed))) for seed in range(300)}
    assert all(value in axis for value in theirs)
    if math.isfinite(axis.size):
        assert len(drawn) == axis.size
        assert theirs == drawn
    else:
        assert np.quantile(sorted(drawn), [0.1, 0.5, 0.9]) == pytest.approx(
            np.quantile(sorted(theirs), [0.1, 0.5, 0.9]), rel=0.5, abs=0.3
        )


@pytest.mark.parametrize(("domain", "axis"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_values_are_plain_and_stay_what_they_are(domain, axis):
    for value in [*axis.corners(), axis.draw(np.random.default_rng(1))]:
        assert type(value) in (int, float, str, bool, type(None))
        assert axis.fit(value) == value
        assert axis.fit(np.asarray(value)[()] if isinstance(value, (int, float)) else value) == value


def test_distributions_without_ray_mean_the_same():
    assert axis_of("key", Distribution("lograndint", (1, 9))) == DISTRIBUTIONS["lograndint"][1]
    assert axis_of("key", Distribution("choice", (4, "a", None, True))) == DISTRIBUTIONS["choice"][1]


@pytest.mark.parametrize(
    "domain",
    [tune.randn(0, 1), tune.qrandn(0, 1, 0.1), tune.sample_from(lambda spec: 1)],
    ids=["randn", "qrandn", "sample_from"],
)
def test_what_has_no_bounds_is_refused(domain):
    with pytest.raises(SpaceError, match=r"^space: optimizer.lr: a searcher needs bounds or choices"):
        axis_of("optimizer.lr", domain)


def test_a_number_is_brought_into_its_bounds_and_to_its_steps():
    assert Number(0.1, 0.4, step=0.1).fit(0.34) == 0.3
    assert Number(8, 32, step=8, whole=True).fit(np.float64(13.1)) == 16
    assert Number(0.0, 1.0).fit(1.0000001) == 1.0
    assert 0.25 not in Number(0.1, 0.4, step=0.1)
    assert True not in Number(0, 1, step=1, whole=True)


def test_choices_tell_numbers_and_truth_apart_and_know_mappings_by_their_text():
    choice = Choice.of([1, 1.0, True, 1, {"b": 2, "a": [1]}, {"a": [1], "b": 2}])
    assert choice.labels == (1, 1.0, True, '{"a": [1], "b": 2}')
    assert [type(choice.value(label)) for label in choice.labels] == [int, float, bool, dict]
    assert 2 not in choice
    assert type(choice.fit(np.int64(1))) is int
    with pytest.raises(SpaceError, match=r"'x' is none of 1, 1\.0, True"):
        choice.fit("x")


def test_what_a_searcher_has_made_a_float_of_is_its_choice_again():
    assert Choice.of([8, 16]).fit(16.0) == 16
