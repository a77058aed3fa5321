"""Which function an analysis is, and what the command line says of its arguments."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnray.cli.analyze_arguments import given, names_in, numbers_in, plain, with_set
from nnray.errors import AnalysisError

if TYPE_CHECKING:
    import analysis

_FUNCTIONS = {
    "cka": ("analysis.jobs.cka", "cka"),
    "compare": ("analysis.jobs.compare", "compare"),
    "figures": ("analysis.jobs.figures", "figures"),
    "probe": ("analysis.jobs.figures", "figures"),
    "weights": ("analysis.jobs.weight_distances", "weight_distances"),
    "connectivity": ("analysis.jobs.connectivity", "connectivity"),
    "ntk": ("analysis.jobs.ntk", "ntk_alignment"),
    "stitch": ("analysis.jobs.stitching", "stitching"),
    "frankenstein": ("analysis.studies.frankenstein", "frankenstein"),
    "extract": ("analysis.jobs.extraction", "extract"),
}
_WITHOUT_LAYERS = ("weights", "connectivity", "ntk")
_WITH_PAIRS = ("compare", "weights", "connectivity", "ntk")
_STITCHING = ("rank", "ridge", "train_epochs", "train_lr", "train_batch_size", "weight_decay")
_TAKEN_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("batch_size", "kernel", "biased"), ("cka",)),
    **dict.fromkeys(("measure", "option"), ("compare",)),
    "same": _WITH_PAIRS,
    "against": (*_WITH_PAIRS, "stitch"),
    **dict.fromkeys(("interval", "resamples"), ("cka", "compare", "figures", "probe")),
    **dict.fromkeys(("kinds", "stages", "every_pair"), ("stitch",)),
    **dict.fromkeys(_STITCHING, ("stitch", "frankenstein")),
    **dict.fromkeys(("fit_data", "fit_n"), ("stitch", "frankenstein", "connectivity")),
    "which": ("figures", "weights"),
    **dict.fromkeys(("reduce", "dtype"), ("extract",)),
}
"""Which analyses an option is for."""


@dataclass(frozen=True)
class Call:
    """An analysis with its arguments.

    Attributes:
        function: Takes networks, then what follows.
        positional: Arguments behind the networks.
        named: Arguments by name.
    """

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: dict[str, Any]

    def __call__(self, networks: analysis.Networks, name: str | None, actors: analysis.Actors) -> Any:
        """Run it."""
        return self.function(networks, *self.positional, **self.named, name=name, actors=actors)


def call_of(arguments: argparse.Namespace, against: analysis.Networks | None) -> Call:
    """Return what the command line asks for.

    Args:
        arguments: The command line; ``what`` is an analysis that comes with the package.
        against: The networks that ``--against`` names.

    Raises:
        AnalysisError: If an argument cannot be meant.
    """
    what = arguments.what
    refuse_options_of_others(arguments)
    module, name = _FUNCTIONS[what]
    function = getattr(importlib.import_module(module), name)
    chosen = _chosen(arguments)
    if what != "weights":
        chosen |= given({"data": arguments.data, "n": arguments.n, "seed": arguments.seed})
    if what in _WITH_PAIRS and arguments.same:
        chosen["same"] = names_in(arguments.same)
    if against is not None:
        chosen["against"] = against
    layers = arguments.layers.split(",")
    positional: tuple[Any, ...] = () if what in _WITHOUT_LAYERS else (layers,)
    if what == "frankenstein" and arguments.layers == "*":
        positional = ()  # its own choice
    if what == "compare":
        positional = (arguments.measure, *positional)
    named = with_set(function, arguments.set, chosen)
    return Call(function, positional, named | (plain("--option", arguments.option) if what == "compare" else {}))


def refuse_options_of_others(arguments: argparse.Namespace) -> None:
    """Raise AnalysisError if an option is given that is for other analyses."""
    for option, takers in _TAKEN_BY.items():
        value = getattr(arguments, option)
        is_given = value is not None and value is not False and value != []
        if is_given and arguments.what not in takers:
            raise AnalysisError(
                f"--{option.replace('_', '-')} is not for {arguments.what}, but for {', '.join(takers)}"
            )


def _chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that an analysis has beside the networks, layers and images."""
    what = arguments.what
    interval = given({"interval": arguments.interval, "resamples": arguments.resamples})
    fit = given({"fit_data": arguments.fit_data, "fit_n": arguments.fit_n})
    if what == "cka":
        options = {"batch_size": arguments.batch_size, "kernel": arguments.kernel}
        return given(options) | ({"unbiased": False} if arguments.biased else {}) | interval
    if what == "compare":
        return interval
    if what == "weights":
        return given({"kind": arguments.which})
    if what == "connectivity":
        return fit
    if what == "extract":
        return given({"reduce": arguments.reduce, "dtype": arguments.dtype})
    if what in ("figures", "probe"):
        which = ["probe"] if what == "probe" else names_in(arguments.which)
        return given({"which": which}) | interval
    if what in ("stitch", "frankenstein"):
        training = {
            "ridge": arguments.ridge,
            "epochs": arguments.train_epochs,
            "lr": arguments.train_lr,
            "batch_size": arguments.train_batch_size,
            "weight_decay": arguments.weight_decay,
            "rank": numbers_in("--rank", arguments.rank),
        }
        if what == "frankenstein":
            return given(training) | fit
        forms = {"kinds": names_in(arguments.kinds), "stages": names_in(arguments.stages)}
        return given(forms | training) | fit | ({"every_pair": True} if arguments.every_pair else {})
    return {}
