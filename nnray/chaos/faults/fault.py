"""What every fault is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from nnray.chaos.stage import Stage


class Fault(ABC):
    """A kind of thing that goes wrong while a store is worked on.

    Attributes:
        name: What ``--faults`` calls it.
        about: What it is, in a few words.
        on_ray: Whether trials are trained by Ray's workers.
        fails_trials: Whether it may fail trials, which then want ``--retry-failed``.
        in_buckets: Whether it can go wrong where the store lies in an object store.
        damages: Whether it changes what is kept, which must be noticed then.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    on_ray: ClassVar[bool] = False
    fails_trials: ClassVar[bool] = False
    damages: ClassVar[bool] = False
    in_buckets: ClassVar[bool] = False

    def ground(self, stage: Stage) -> AbstractContextManager[None]:
        """Return what the store lies on during the episode."""
        return nullcontext()

    @abstractmethod
    def strike(self, stage: Stage) -> None:
        """Start commands and let it go wrong; what goes on being wrong is over when this returns."""
