"""Distributions by name draw what Ray Tune's draw, and need no Ray."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from nnray.errors import SpaceError
from nnray.space import Distribution, is_distribution
from nnray.space.distribution import DISTRIBUTIONS, drawn

ARGUMENTS = {
    "uniform": (-1.5, 2),
    "quniform": (0.3, 1.1, 0.1),
    "loguniform": (1e-4, 1e-1),
    "qloguniform": (1e-3, 1e-1, 5e-4),
    "randn": (3, 0.5),
    "qrandn": (3, 2, 0.25),
    "randint": (-4, 9),
    "qrandint": (3, 64, 8),
    "lograndint": (2, 1000),
    "qlograndint": (5, 500, 5),
    "choice": ("a", None, 2.5),
}


def test_all_of_them_are_tested():
    assert ARGUMENTS.keys() == DISTRIBUTIONS.keys()


@pytest.mark.parametrize("name", ARGUMENTS)
@given(seed=st.integers(0, 2**63), index=st.integers(0, 10**6))
def test_the_draws_are_those_of_ray_tune(name, seed, index):
    arguments = ARGUMENTS[name]
    domain = getattr(tune, name)(*([list(arguments)] if name == "choice" else arguments))
    ours = drawn({"k": Distribution(name, arguments)}, {"k": "k"}, seed, index)["k"]
    theirs = drawn({"k": domain}, {"k": "k"}, seed, index)["k"]
    assert ours == theirs
    assert type(ours) is type(theirs)
    assert type(ours) in (int, float, str, type(None))


def test_other_keys_seeds_and_indices_give_other_draws():
    one = Distribution("uniform", (0, 1))
    draws = [drawn({"k": one}, {"k": key}, seed, index)["k"] for key in "ab" for seed in (0, 1) for index in range(50)]
    assert len(set(draws)) == 200
    assert abs(np.mean(draws) - 0.5) < 0.08
    assert abs(np.std(draws) - 12**-0.5) < 0.04


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("loguniforn", (1, 2), r"there is no distribution 'loguniforn'; did you mean 'loguniform' or"),
        ("uniform", (1,), r"uniform\(1\): uniform takes \(lower, upper\)"),
        ("loguniform", (0, 1), r"loguniform\(0, 1\): nothing can be drawn from loguniform\(lower, upper\) with these"),
        ("uniform", (2, 1), r"uniform\(2, 1\): nothing can be drawn"),
        ("uniform", ("a", "b"), r"uniform\('a', 'b'\): nothing can be drawn"),
        ("uniform", (0, float("inf")), r"uniform\(0, inf\): nothing can be drawn"),
        ("randint", (3, 3), r"randint\(3, 3\): nothing can be drawn"),
        ("randint", (0.5, 3), r"randint\(0\.5, 3\): nothing can be drawn"),
        ("qrandint", (9, 15, 8), r"qrandint\(9, 15, 8\): nothing can be drawn"),
        ("randn", (0, -1), r"randn\(0, -1\): nothing can be drawn"),
        ("quniform", (0, 1, 0), r"quniform\(0, 1, 0\): nothing can be drawn"),
        ("quniform", (0.25, 1, 0.1), r"quniform\(0\.25, 1, 0\.1\): nothing can be drawn"),
        ("choice", (), r"choice\(\): nothing can be drawn"),
    ],
)
def test_arguments_that_say_nothing(name, arguments, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        Distribution(name, arguments)


def test_what_is_a_distribution():
    assert is_distribution(tune.choice([1]))
    assert is_distribution(tune.sample_from(lambda: 1))
    assert is_distribution(Distribution("choice", (1,)))
    assert not any(map(is_distribution, [3, "uniform", [1], {"uniform": [0, 1]}, Distribution, np.arange(3)]))


def test_drawing_needs_no_ray():
    program = (
        "import sys\nfrom nnray.space import Distribution, Sweep\n"
        "sweep = Sweep(name='s', space={'a': Distribution('loguniform', (1, 2))}, num_samples=2)\n"
        "assert len(list(sweep.overrides())) == 2\n"
        "assert not {'ray', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
