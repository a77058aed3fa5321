"""A search space: what the trials have in common, what varies, and how they are to be run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnray.errors import NnrayError, SpaceError
from nnray.space.grid import Grid
from nnray.space.resources import Resources
from nnray.trial.merging import full_key, merge, read_configuration_file
from nnray.trial.paths import check_sweep_name

Overrides = dict[str, Any]
Trials = Callable[[], Iterable[Mapping[str, Any]]] | Iterable[Mapping[str, Any]]

_KEY = re.compile(r"[^\s.=]+(\.[^\s.=]+)*")


@dataclass
class Sweep:
    """Many trials: a base configuration, and what varies.

    Args:
        name: Names the sweep's tables and its MLflow experiment.
        base: What all trials have in common: a configuration file (resolved beside the file that defines the sweep), or
            a dict of nested or dotted keys.
        space: Dotted keys and their values; those in :func:`~nnray.grid` are multiplied out, others are the same
            for all.
        trials: A function (or an iterable) that yields dicts of dotted keys, for loops and conditions; each of them is
            multiplied by the space.
        metric: The metric that tables and reports look at.
        mode: Whether a larger (``max``) or a smaller (``min``) value of the metric is better.
        resources: What a trial occupies, ``{"cpu": 1, "gpu": 0.25}``, or a function that returns this for a trial's
            resolved configuration; left out, one core and a share of a GPU where there are GPUs.
        num_samples: How many draws to make from distributions at each point of the grid; with a searcher, the number
            of trials.
        sample_seed: Decides the draws.
        replicates: How many seeds to train each point with, counted upwards from the configuration's own.
        search: What proposes trials: a name, a dict of ``name`` and arguments, or a searcher of Ray Tune.
        scheduler: What stops trials early: a name, a dict of ``name`` and arguments, or a scheduler of Ray Tune.

    Raises:
        SpaceError: On a name, key or value that cannot be meant.
    """

    name: str
    base: str | Path | Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    trials: Trials | None = None
    metric: str = "val_acc"
    mode: Literal["max", "min"] = "max"
    resources: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    num_samples: int | None = None
    sample_seed: int = 0
    replicates: int | None = None
    search: Any = None
    scheduler: Any = None

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is expanded."""
        if not isinstance(self.name, str):
            raise SpaceError(f"name: {self.name!r} is not text")
        try:
            check_sweep_name(self.name)
        except NnrayError as error:
            raise SpaceError(str(error)) from None
        if not isinstance(self.base, (str, Path, Mapping)):
            raise SpaceError(f"base: a configuration file or a dict is expected, not {self.base!r}")
        if self.mode not in ("max", "min"):
            raise SpaceError(f"mode: {self.mode!r} is neither 'max' nor 'min'")
        if not isinstance(self.metric, str):
            raise SpaceError(f"metric: {self.metric!r} is not text")
        _check_trials(self.trials)
        if isinstance(self.trials, Iterator):
            self.trials = tuple(self.trials)  # a generator would yield its trials only once
        _check_keys("space", self.space)
        if not callable(self.resources):
            Resources.of(self.resources)
        _check_count("num_samples", self.num_samples)
        _check_count("replicates", self.replicates)
        if isinstance(self.sample_seed, bool) or not isinstance(self.sample_seed, int):
            raise SpaceError(f"sample_seed: {self.sample_seed!r} is not a whole number")

    def overrides(self) -> Iterator[Overrides]:
        """Yield the dotted keys of each trial, in order: the last key of the space varies fastest."""
        axes = {key: value for key, value in self.space.items() if isinstance(value, Grid)}
        common = {key: value for key, value in self.space.items() if not isinstance(value, Grid)}
        in_space = {full_key(key) for key in self.space}
        for index, given in enumerate(self._given()):
            _check_keys(f"trials: number {index + 1}", given)
            both = [key for key in given if full_key(key) in in_space]
            if both:
                raise SpaceError(f"trials: number {index + 1} sets {both[0]}, which the space sets too")
            for point in itertools.product(*axes.values()):
                yield {**common, **given, **dict(zip(axes, point, strict=True))}

    def base_configuration(self, folder: Path) -> dict[str, Any]:
        """Return the base as a nested dict; a file name is resolved in ``folder``."""
        if isinstance(self.base, Mapping):
            return merge({}, self.base)
        return merge({}, read_configuration_file(folder / self.base))

    def _given(self) -> Iterable[Mapping[str, Any]]:
        if self.trials is None:
            return [{}]
        return self.trials() if callable(self.trials) else self.trials


def _check_count(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SpaceError(f"{name}: {value!r} is not a whole number of at least 1")


def _check_trials(trials: Any) -> None:
    many = callable(trials) or (isinstance(trials, Iterable) and not isinstance(trials, (str, Mapping)))
    if trials is not None and not many:
        raise SpaceError(f"trials: a function that yields dicts of dotted keys is expected, not {trials!r}")


def _check_keys(where: str, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise SpaceError(f"{where}: a dict of dotted keys is expected, not {values!r}")
    seen: dict[str, str] = {}
    for key in values:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise SpaceError(f"{where}: {key!r} is not a dotted key such as 'model.init_args.width'")
        other = seen.setdefault(full_key(key), key)
        if other != key:
            raise SpaceError(f"{where}: {other} and {key} are the same key")
