"""Searchers draw out of global random generators and warn of what a person can do nothing about."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def isolated_searcher(*parts: int) -> Iterator[None]:
    """Seed ``random`` and NumPy from ``parts`` (none negative) and put both back afterwards; ignore warnings."""
    states = random.getstate(), np.random.get_state()
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
