"""Pictures of results, for papers: ``figure.savefig("cka.pdf")`` writes vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

_INCHES_A_LAYER = 0.16
_LABELLED = 60
"""Up to so many layers have their names along the axes; of more, each network has its name once."""


def heatmap(
    square: pd.DataFrame,
    title: str = "",
    low: float | None = None,
    high: float | None = None,
    colours: str = "magma",
) -> Figure:
    """Return a heatmap of layers against layers, with lines between networks.

    Args:
        square: Values; rows and columns are (trial, epoch, layer), as :meth:`analysis.results.Pairs.matrix` gives them.
        title: Stands above.
        low: The value of the darkest colour; None for the smallest there is.
        high: The value of the lightest; None for the largest.
        colours: A colour map of matplotlib.
    """
    sizes = [min(max(3.0, count * _INCHES_A_LAYER), 14.0) for count in square.shape]
    figure = Figure(figsize=(sizes[1] + 1.5, sizes[0]), layout="constrained")
    axes = figure.subplots()
    aspect: Literal["equal", "auto"]
    aspect = "equal" if square.shape[0] == square.shape[1] else "auto"  # a few rows would be a thin line
    image = axes.imshow(square.to_numpy(), vmin=low, vmax=high, cmap=colours, interpolation="nearest", aspect=aspect)
    figure.colorbar(image, ax=axes, shrink=0.8)
    for index, line, ticks, rotation in (
        (square.index, axes.axhline, axes.set_yticks, 0),
        (square.columns, axes.axvline, axes.set_xticks, 90),
    ):
        for border in _borders(index):
            line(border - 0.5, color="white", linewidth=0.6)
        ticks(*_ticks(index), rotation=rotation, fontsize=6)
    if title:
        axes.set_title(title)
    return figure


def _borders(index: pd.Index) -> list[int]:
    """Return where another network begins."""
    networks = [label[:2] for label in index]
    return [place for place in range(1, len(index)) if networks[place] != networks[place - 1]]


def _ticks(index: pd.Index) -> tuple[list[int], list[str]]:
    if len(index) <= _LABELLED:
        return list(range(len(index))), [str(label[2]) for label in index]
    starts = [0, *_borders(index)]
    places = [(start + end - 1) // 2 for start, end in zip(starts, [*starts[1:], len(index)], strict=True)]
    return places, [f"{index[start][0][:8]} {index[start][1]}" for start in starts]


@dataclass(frozen=True)
class Curve:
    """A mean with its spread over places along an axis; all arrays are as long as there are places."""

    label: str
    places: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def curves_of(
    frame: pd.DataFrame, figure: str, over: str, by: str | Sequence[str] | None
) -> tuple[list[Curve], list[str] | None]:
    """Return the curves of :func:`curves`, and the names of places where these are no numbers."""
    numeric = over != "layer" and pd.api.types.is_numeric_dtype(frame[over].dtype)
    order = sorted(frame[over].unique()) if numeric else list(dict.fromkeys(frame[over]))
    places = np.asarray(order) if numeric else np.arange(len(order))
    groups: list[tuple[Any, pd.DataFrame]] = (
        [("", frame)]
        if by is None
        else list(frame.groupby([by] if isinstance(by, str) else list(by), sort=True, observed=True))
    )
    found = []
    for label, rows in groups:
        values = rows.groupby(over, sort=False, observed=True)[figure].agg(["mean", "std"]).reindex(order)
        name = ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)
        mean, spread = values["mean"].to_numpy(float), values["std"].fillna(0.0).to_numpy(float)
        found.append(Curve(name, places, mean, spread))
    return found, None if numeric else [str(name) for name in order]


def curves(
    frame: pd.DataFrame, figure: str, over: str = "layer", by: str | Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Return a figure's mean over networks as a curve, with a band of one standard deviation.

    Args:
        frame: ``trial``, ``epoch``, ``layer`` and a column per figure, with more columns (of the configuration, say)
            where ``by`` names them.
        figure: The column to be shown.
        over: What runs along the axis: ``layer`` and text in the order of the frame, numbers by their size.
        by: Columns that make a curve each; None for one curve.
        title: Stands above.
    """
    picture = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = picture.subplots()
    found, names = curves_of(frame, figure, over, by)
    for curve in found:
        (line,) = axes.plot(curve.places, curve.mean, marker=".", label=curve.label or None)
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.places, low, high, alpha=0.2, color=line.get_color())
    if names is not None:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_xlabel(over)
    axes.set_ylabel(figure)
    if by is not None:
        axes.legend(title=by if isinstance(by, str) else ", ".join(by))
    if title:
        axes.set_title(title)
    return picture


def scatter(points: pd.DataFrame, colours: pd.Series | None = None, title: str = "") -> Figure:
    """Return points in the plane.

    Args:
        points: Columns ``x`` and ``y``.
        colours: A value per point that its colour tells, by number or by name; None for one colour.
        title: Stands above.
    """
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    if colours is None:
        axes.scatter(points["x"], points["y"], s=16)
    elif pd.api.types.is_numeric_dtype(colours.dtype):
        shown = axes.scatter(points["x"], points["y"], s=16, c=colours.to_numpy())
        figure.colorbar(shown, ax=axes, label=str(colours.name))
    else:
        for name in dict.fromkeys(colours):
            own = points[(colours == name).to_numpy()]
            axes.scatter(own["x"], own["y"], s=16, label=str(name))
        axes.legend(title=str(colours.name), fontsize=7)
    axes.set_aspect("equal", adjustable="datalim")
    if title:
        axes.set_title(title)
    return figure
