import random

import numpy as np
import pytest
import torch

from nnray.data import clear_cache


@pytest.fixture(autouse=True)
def _empty_cache():
    clear_cache()
    yield
    clear_cache()


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    """Tiny tensors on a busy machine: threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def random_states():
    """A function that returns the states of all global random generators, comparable with ``==``."""

    def states():
        name, keys, *rest = np.random.get_state()
        return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()

    return states
