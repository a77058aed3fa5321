"""What to train, from the command line: a file that describes a sweep, options in its place, or both."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.errors import NnrayError, SpaceError
from nnray.space import Sweep, load_sweep
from nnray.space.notation import parse_grids, parse_settings
from nnray.trial.merging import full_key, parse_assignments, parse_value
from nnray.trial.paths import check_sweep_name

_FIELDS = ("name", "metric", "mode", "num_samples", "sample_seed", "replicates", "search", "keep_within")


@dataclass(frozen=True)
class Asked:
    """What a command line asks for.

    Attributes:
        sweep: The sweep.
        settings: Keys that win over all others; grids among them multiply the sweep.
        file: The file that it comes from: the space, or else the base.
        words: The words of the command line that say all this, quoted for a shell.
    """

    sweep: Sweep
    settings: dict[str, Any]
    file: Path
    words: str

    @property
    def folder(self) -> Path:
        """Where the base is looked up."""
        return self.file.absolute().parent


def add_space_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "space",
        metavar="SPACE",
        nargs="?",
        help="a Python file with a nnray.Sweep in it, or a YAML or JSON file with its fields; or none, with --base",
    )
    parser.add_argument("--base", metavar="FILE", help="the configuration that all trials start from")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a key for all trials, over base and space; a list is a grid: lr=[0.1,0.2] doubles the trials, and a "
        "value that is a list itself is written [[0.9,0.99]]",
    )
    parser.add_argument(
        "--grid",
        metavar="KEY=VALUES",
        action="append",
        default=[],
        help="multiply the trials: lr=0.001,0.01, seed=0..4 (4 included), width=8..32..8 (in steps of 8), or a "
        "distribution of Ray Tune, lr='loguniform(1e-4,1e-1)'",
    )
    parser.add_argument("--name", help="the sweep's name (else the space's, or that of the base file)")
    parser.add_argument("--metric", help="the metric that tables and reports look at")
    parser.add_argument("--mode", choices=("max", "min"), help="whether a larger or a smaller value of it is better")
    parser.add_argument(
        "--num-samples", metavar="N", type=int, help="draws from distributions; with a searcher the number of trials"
    )
    parser.add_argument(
        "--search",
        metavar="NAME",
        help="what proposes trials: random, optuna, nevergrad or another searcher; with arguments "
        "'{name: optuna, sampler: cmaes}'",
    )
    parser.add_argument("--sample-seed", metavar="N", type=int, help="decides the draws (0)")
    parser.add_argument(
        "--replicates", metavar="N", type=int, help="train each point with N seeds, counted from its own upwards"
    )
    parser.add_argument(
        "--keep-within",
        metavar="SIZE",
        help="bound on what the checkpoints of all trials take up, as 20GB: of finished trials those between the last "
        "and the best go, the trial that ended first and its earliest epochs first, none that an analysis was made of",
    )
    parser.add_argument(
        "--resources", metavar="KEY=N", action="append", default=[], help="what a trial occupies: cpu=1, gpu=0.25"
    )


def asked_for(arguments: argparse.Namespace) -> Asked:
    """Return what the command line asks for.

    Raises:
        NnrayError: If there is neither a space nor a base, or one of the options cannot be meant.
    """
    settings = _settings(arguments)
    fields = {name: value for name in _FIELDS if (value := getattr(arguments, name)) is not None}
    if arguments.search is not None:
        fields["search"] = parse_value("--search", arguments.search)
    if arguments.space is not None:
        file = Path(arguments.space)
        sweep = load_sweep(file)
        if arguments.base is not None:
            fields["base"] = Path(arguments.base).absolute()
    elif arguments.base is not None:
        file = Path(arguments.base)
        sweep = Sweep(name=fields.pop("name", None) or _default_name(file), base=file.absolute())
    else:
        raise SpaceError("what to train is missing: give a SPACE, or --base FILE with --grid KEY=VALUES")
    if arguments.resources:
        fields["resources"] = _resources(sweep, parse_assignments(arguments.resources))
    return Asked(dataclasses.replace(sweep, **fields), settings, file, _words(arguments))


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    settings, grids = parse_settings(arguments.set), parse_grids(arguments.grid)
    keys = {full_key(key) for key in settings}
    both = [key for key in grids if full_key(key) in keys]
    if both:
        raise SpaceError(f"{both[0]} is given by --set and by --grid: one is enough")
    return {**settings, **grids}


def _default_name(base: Path) -> str:
    try:
        return check_sweep_name(base.stem)
    except NnrayError as error:
        raise SpaceError(f"{error}; give another with --name") from None


def _resources(sweep: Sweep, given: Mapping[str, Any]) -> Mapping[str, Any] | Callable[..., Mapping[str, Any]]:
    """Return the sweep's resources with those that the command line gives in their place."""
    of_sweep = sweep.resources
    if callable(of_sweep):
        return lambda configuration: {**of_sweep(configuration), **given}
    return {**(of_sweep or {}), **given}


def _words(arguments: argparse.Namespace) -> str:
    words = [] if arguments.space is None else [arguments.space]
    words += [] if arguments.base is None else ["--base", arguments.base]
    for option in ("set", "grid", "resources"):
        words += [word for value in getattr(arguments, option) for word in (f"--{option}", value)]
    for name in _FIELDS:
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
