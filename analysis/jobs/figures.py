"""Figures of single layers: dimension, separation, sparsity, what a linear probe reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis import geometry
from analysis.jobs.mapping import Shown, map_networks
from analysis.networks import Network, Networks
from analysis.pool import Actors
from analysis.probes import linear_probe
from analysis.results import COORDINATES, LayerFigures, errors_frame
from analysis.stimuli import Data
from analysis.uncertainty import Resampling, Way
from nnray.errors import AnalysisError, did_you_mean

Figure = Callable[[torch.Tensor, torch.Tensor | None], float]


def _of_values(function: Callable[[torch.Tensor], float]) -> Figure:
    return lambda values, labels: function(values)


def _of_classes(function: Callable[[torch.Tensor, torch.Tensor], float]) -> Figure:
    def figure(values: torch.Tensor, labels: torch.Tensor | None) -> float:
        if labels is None:
            raise ValueError("there are no labels")
        return function(values, labels)

    return figure


FIGURES: dict[str, Figure] = {
    "participation_ratio": _of_values(geometry.participation_ratio),
    "effective_rank": _of_values(geometry.effective_rank),
    "two_nn": _of_values(geometry.two_nn),
    "sparsity": _of_values(geometry.sparsity),
    "dead_units": _of_values(geometry.dead_units),
    "class_separation": _of_classes(geometry.class_separation),
    "probe": _of_classes(linear_probe),
}
"""What can be asked of a layer, by name."""


def figures(
    networks: Networks,
    layers: str | Sequence[str] = "*",
    which: str | Sequence[str] = ("participation_ratio", "two_nn", "class_separation", "sparsity"),
    *,
    data: Data = "test",
    n: int | None = None,
    seed: int = 0,
    interval: Way | None = None,
    resamples: int = 200,
    level: float = 0.95,
    name: str | None = None,
    actors: Actors | int | None = None,
) -> LayerFigures:
    """Return figures of every layer of every network: a row per layer, a column per figure.

    Args:
        networks: The networks.
        layers: Names or globs.
        which: Names of :data:`FIGURES`.
        data: What the networks are shown: see :func:`analysis.stimuli.make_stimuli`.
        n: How many images; None for all.
        seed: Of the choice and the order of the images, and of what is drawn for intervals.
        interval: ``bootstrap`` or ``split-half`` give each figure ``x`` the columns ``x/low`` and ``x/high``: see
            :mod:`analysis.uncertainty`. Probes take no bootstrap: copies of an image would be fit and left out.
        resamples: How many choices of images make an interval.
        level: The share of the choices' figures within the interval.
        name: The folder under ``analysis/`` in the store.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.

    Raises:
        AnalysisError: If there is no such figure, or every network fails.
    """
    names = [which] if isinstance(which, str) else list(which)
    for figure in names:
        if figure not in FIGURES:
            raise AnalysisError(f"there is no figure {figure!r}{did_you_mean(figure, FIGURES)}")
    arguments: dict[str, Any] = {"which": names}
    if interval is not None:
        arguments["interval"] = asdict(Resampling(interval, resamples, level, seed))
        if interval == "bootstrap" and "probe" in names:
            raise AnalysisError("probe: copies of an image would be both fit and left out; take interval='split-half'")
    frame = map_networks(
        networks,
        layer_figures,
        layers,
        data=data,
        n=n,
        seed=seed,
        name=name,
        actors=actors,
        arguments=arguments,
    )
    partly = frame[frame["error"].notna()]
    places = [*COORDINATES, "error"]
    failures = [row for rows in (frame.errors, partly[places]) for row in rows.itertuples(index=False, name=None)]
    result = LayerFigures(frame.drop(columns="error"))
    result.attrs["folder"] = frame.attrs["folder"]
    result.errors, result.networks = errors_frame(failures), networks.frame
    return result


def layer_figures(
    network: Network,
    activations: dict[str, torch.Tensor],
    shown: Shown,
    which: Sequence[str],
    interval: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a row per layer; a figure that cannot be had is empty, and ``error`` says why."""
    rows: list[dict[str, Any]] = []
    for layer, values in activations.items():
        row: dict[str, Any] = {"layer": layer}
        reasons = []
        for name in which:
            try:
                row[name] = FIGURES[name](values, shown.labels)
                if interval is not None:
                    row |= _interval(name, values, shown.labels, Resampling(**interval))
            except ValueError as error:
                row.setdefault(name, float("nan"))
                reasons.append(f"{name}: {error}")
        rows.append({**row, "error": "; ".join(reasons) or None})
    return pd.DataFrame(rows)


def _interval(name: str, values: torch.Tensor, labels: torch.Tensor | None, how: Resampling) -> dict[str, float]:
    drawn = []
    for number in range(how.count):
        index = how.index(number, len(values))
        drawn.append(FIGURES[name](values[index], None if labels is None else labels[index]))
    low, high = how.ends(np.asarray(drawn))
    return {f"{name}/low": float(low), f"{name}/high": float(high)}
