"""A search space: what the trials have in common, what varies, and how they are to be run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnray.errors import NnrayError, SpaceError
from nnray.sizes import parse_size
from nnray.space.distribution import is_distribution
from nnray.space.generator import items_of
from nnray.space.point import Point, Sampling
from nnray.space.product import check_keys, points, varied_keys
from nnray.space.resources import Resources
from nnray.trial.merging import full_key, merge, read_configuration_file
from nnray.trial.paths import check_sweep_name

Trials = Callable[[], Iterable["Mapping[str, Any] | Sweep"]] | Iterable["Mapping[str, Any] | Sweep"]


@dataclass
class Sweep:
    """Many trials: a base configuration, and what varies.

    Args:
        name: Names the sweep's tables and its MLflow experiment.
        base: What all trials have in common: a configuration file (resolved beside the file that defines the sweep), or
            a dict of nested or dotted keys.
        space: Dotted keys and their values; those in :func:`~nnray.grid` are multiplied out, those in
            :func:`~nnray.zipped` vary together, distributions (``ray.tune.loguniform(1e-4, 1e-1)``) are drawn from,
            and others are the same for all.
        trials: A function (or an iterable) that yields dicts of dotted keys, for loops and conditions. Each of them is
            a space of its own, with grids or without, and is multiplied by ``space``. So is another Sweep: its base and
            what varies in it are taken over, and its ``num_samples`` and ``replicates`` if it has any; of two spaces
            in a list the union is trained. A sweep alone, instead of a list of one, will do.
        metric: The metric that tables and reports look at.
        mode: Whether a larger (``max``) or a smaller (``min``) value of the metric is better.
        resources: What a trial occupies, ``{"cpu": 1, "gpu": 0.25, "workers": 1}``, or a function that returns this for
            a trial's resolved configuration; left out, one core and a share of a GPU where there are GPUs.
        num_samples: How many draws to make from distributions at each point of the grid; with a searcher, the number
            of trials. A larger number keeps the draws that there were.
        sample_seed: Decides the draws; all points of the grid get the same ones, so that they can be compared in pairs.
        replicates: How many seeds to train each point with, counted upwards from the configuration's own.
        search: What proposes trials: a name (``random``, ``optuna``, ``nevergrad``, or another searcher of Ray Tune), a
            dict of ``name`` and arguments (``{"name": "optuna", "sampler": "cmaes", "seed": 0}``), or a searcher object
            of Ray Tune. It varies the distributions; grids, zipped keys and ``trials`` are choices to it.
        scheduler: What stops trials early: a name, a dict of ``name`` and arguments, or a scheduler of Ray Tune.
        keep_within: How much the checkpoints of all trials together may take up, as ``20GB``: of finished trials those
            between the last and the best go while the sweep runs (:mod:`nnray.store.space.budget` tells which first).

    Raises:
        SpaceError: On a name, key or value that cannot be meant.
    """

    name: str
    base: str | Path | Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    trials: Trials | Sweep | None = None
    metric: str = "val_acc"
    mode: Literal["max", "min"] = "max"
    resources: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    num_samples: int | None = None
    sample_seed: int = 0
    replicates: int | None = None
    search: Any = None
    scheduler: Any = None
    keep_within: str | None = None

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
        check_keys("space", self.space)
        if not callable(self.resources):
            Resources.of(self.resources)
        if self.keep_within is not None:
            try:
                parse_size(str(self.keep_within))
            except ValueError as error:
                raise SpaceError(f"keep_within: {error}") from None
        _check_count("num_samples", self.num_samples)
        _check_count("replicates", self.replicates)
        if isinstance(self.sample_seed, bool) or not isinstance(self.sample_seed, int):
            raise SpaceError(f"sample_seed: {self.sample_seed!r} is not a whole number")

    def overrides(self, folder: Path = Path()) -> Iterator[dict[str, Any]]:
        """Yield the keys of each trial, in order: the last key of the space varies fastest, samples faster still.

        Replicates are not in it, since their seeds count upwards from the configuration's own.

        Args:
            folder: Where the base files of spaces that are used inside this one are looked up.

        Raises:
            SpaceError: If what ``trials`` yields cannot be meant, or a distribution cannot be drawn from.
        """
        return (point.overrides() for point in self._drawn(folder))

    def configurations(self, folder: Path, settings: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the configuration of each trial as a nested dict that is not resolved yet, replicates included.

        Args:
            folder: Where base files are looked up.
            settings: Keys that win over all others; what varies in them multiplies the sweep.

        Raises:
            ConfigurationError: If a base file cannot be read.
            SpaceError: As :meth:`overrides` does, or if replicates stand beside a grid of seeds.
        """
        settings = settings or {}
        check_keys("settings", settings)
        every = [
            sample.values
            for values in points("settings", settings)
            for sample in Point(values, sampling=self._sampling).samples()
        ]
        # Twice: a class that is set has to be there before the space's arguments are put into it, and to be there still
        # after a trial that names another.
        bases = [merge(self.base_configuration(folder), setting) for setting in every]
        varied = varied_keys(settings)
        sampled = any(is_distribution(value) for value in settings.values())
        for point in self._drawn(folder, sampled):
            point = dataclasses.replace(point, varied=point.varied | varied) if varied else point
            overrides = point.overrides()
            for base, setting in zip(bases, every, strict=True):
                yield from point.with_seeds(merge(base, overrides, setting))

    def points(self, folder: Path = Path()) -> Iterator[Point]:
        """Yield the points of the grid; distributions stand undrawn in them."""
        in_space = {full_key(key) for key in self.space}
        varied = varied_keys(self.space)
        for where, item in self._items():
            for given in self._item_points(where, item, folder):
                both = [key for key in given.values if full_key(key) in in_space]
                if both:
                    raise SpaceError(f"{where} sets {both[0]}, which the space sets too")
                for values in points("space", self.space):
                    yield Point(
                        values={**given.values, **values},
                        bases=given.bases,
                        varied=given.varied | varied,
                        sampling=given.sampling or self._sampling,
                        replicates=given.replicates or self.replicates,
                    )

    def base_configuration(self, folder: Path) -> dict[str, Any]:
        """Return the base as a nested dict; a file name is resolved in ``folder``."""
        if isinstance(self.base, Mapping):
            return merge({}, self.base)
        return merge({}, read_configuration_file(folder / self.base))

    @property
    def _sampling(self) -> Sampling | None:
        return None if self.num_samples is None else Sampling(self.num_samples, self.sample_seed)

    def _drawn(self, folder: Path, sampled: bool = False) -> Iterator[Point]:
        """Yield the points, drawn from; ``sampled`` tells that there are distributions elsewhere."""
        sampled = sampled or self.num_samples is None
        for point in self.points(folder):
            for sample in point.samples():
                sampled = sampled or sample is not point
                yield sample
        if not sampled:
            raise SpaceError(f"num_samples: {self.num_samples}, but nothing in the space is a distribution")

    def _items(self) -> Iterator[tuple[str, Any]]:
        """Yield what ``trials`` gives, and how a message calls it."""
        if self.trials is None:
            yield "trials", {}
        elif isinstance(self.trials, Sweep):
            yield "trials", self.trials
        else:
            for number, item in enumerate(items_of(self.name, self.trials), start=1):
                yield f"trials: number {number}", item

    def _item_points(self, where: str, item: Any, folder: Path) -> Iterator[Point]:
        if isinstance(item, Sweep):
            base = item.base_configuration(folder)
            for point in item.points(folder):
                yield dataclasses.replace(point, bases=(base, *point.bases))
            return
        if not isinstance(item, Mapping):
            raise SpaceError(f"{where}: a dict of dotted keys or a Sweep is expected, not {item!r}")
        check_keys(where, item)
        varied = varied_keys(item)
        for values in points(where, item):
            yield Point(values=values, varied=varied)


def _check_count(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SpaceError(f"{name}: {value!r} is not a whole number of at least 1")


def _check_trials(trials: Any) -> None:
    many = callable(trials) or (isinstance(trials, Iterable) and not isinstance(trials, (str, Mapping)))
    if trials is not None and not many and not isinstance(trials, Sweep):
        raise SpaceError(f"trials: a function that yields dicts of dotted keys is expected, not {trials!r}")
