"""The global random generators, out of which some searchers draw."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_globally(*parts: int) -> Iterator[None]:
    """Seed ``random`` and NumPy from ``parts`` (none negative) and put both back afterwards."""
    states = random.getstate(), np.random.get_state()
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
