"""What one trial occupies while it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nnray.errors import SpaceError, did_you_mean


@dataclass(frozen=True)
class Resources:
    """What one trial occupies.

    Attributes:
        cpu: Processor cores of each worker.
        gpu: GPUs of each worker, or a share of one; None for a share of those that there are.
        workers: Processes that train the trial together, each on its part of every batch.
    """

    cpu: float = 1.0
    gpu: float | None = None
    workers: int = 1

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Resources:
        """Return the resources that ``values`` (``{"cpu": 1, "gpu": 0.25}``) name; raise SpaceError on others."""
        if values is not None and not isinstance(values, Mapping):
            raise SpaceError(f"resources: a dict such as {{'cpu': 1}} is expected, not {values!r}")
        given = dict(values or {})
        names = tuple(field.name for field in fields(cls))
        for key, amount in given.items():
            if key not in names:
                raise SpaceError(f"resources: there is no {key!r}{did_you_mean(key, names)}")
            if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
                raise SpaceError(f"resources: {key} is {amount!r}, where a number that is not negative is expected")
        workers = given.pop("workers", 1)
        if workers < 1 or workers != int(workers):
            raise SpaceError(f"resources: workers is {workers!r}, where a whole number from 1 on is expected")
        return cls(**{key: float(amount) for key, amount in given.items()}, workers=int(workers))
