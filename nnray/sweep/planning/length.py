"""Whether the first epochs of a trial depend on how many there are going to be."""

from __future__ import annotations

import json
from functools import lru_cache

from nnray.trial.configuration import Configuration

_LENGTH_FREE_SCHEDULES = frozenset(
    {
        "ConstantLR",
        "CosineAnnealingWarmRestarts",
        "CyclicLR",
        "ExponentialLR",
        "LinearLR",
        "MultiStepLR",
        "ReduceLROnPlateau",
        "StepLR",
    }
)
"""Schedules of ``torch.optim.lr_scheduler`` that have no end which they are laid out for."""
_DECLARATION = "length_free"


def dependence_on_length(configuration: Configuration) -> str | None:
    """Return what may make a trial's epochs depend on ``trainer.max_epochs``, None if nothing does.

    Only what is known not to look at the length is trusted: nnray's own parts, schedules that have no end, and classes
    of a person's own that declare ``length_free = True`` (each class for itself: a subclass may do other things).
    """
    values = configuration.values
    parts = {kind: values[kind] and values[kind]["class_path"] for kind in ("task", "data", "lr_scheduler")}
    callbacks = [callback["class_path"] for callback in values["trainer"]["callbacks"] or []]
    return _dependence(json.dumps([parts, callbacks]))


@lru_cache(maxsize=256)
def _dependence(text: str) -> str | None:
    from nnray.trial.components import find_class

    parts, callbacks = json.loads(text)
    schedule = parts.pop("lr_scheduler")
    if schedule is not None:
        cls = find_class("lr_scheduler", schedule)
        known = cls.__module__.startswith("torch.") and cls.__name__ in _LENGTH_FREE_SCHEDULES
        if not (known or _declares(cls)):
            return f"the schedule {cls.__name__} depends on the length"
    for kind, path in parts.items():
        cls = find_class(kind, path)
        if not (_declares(cls) or (kind == "data" and cls.__module__.startswith("nnray.data."))):
            return f"the {kind} class {cls.__name__} may depend on the length (it does not say {_DECLARATION} = True)"
    return "callbacks may depend on the length" if callbacks else None


def _declares(cls: type) -> bool:
    return vars(cls).get(_DECLARATION) is True
