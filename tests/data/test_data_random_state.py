import random

import numpy as np
import pytest
import torch

from nnray.data.random_state import derive_seed, isolated_random_state

CPU = torch.device("cpu")


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item(), np.random.normal()


def test_a_derived_seed_is_the_same_on_every_machine():
    assert derive_seed("order", 0, 0) == 2639891785492693593


def test_derived_seeds_of_neighbours_differ():
    seeds = {
        derive_seed(purpose, *pair) for purpose in ("a", "b") for pair in [(1, 11), (11, 1), (111,), (1, 1, 1), (0, 0)]
    }
    assert len(seeds) == 10
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_draws_inside_depend_on_the_seed_alone():
    def draws(seed):
        with isolated_random_state(seed, CPU):
            return draw()

    first = draws(2**63 - 1)
    draw()
    assert draws(2**63 - 1) == first
    assert draws(5) != first


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_states_outside_are_put_back(random_states, fails):
    np.random.normal()  # NumPy keeps the second of two normal draws: part of the state
    before = random_states()
    try:
        with isolated_random_state(1, CPU):
            draw()
            assert random_states() != before
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert random_states() == before
