"""Pictures of results, for papers: ``figure.savefig("cka.pdf")`` writes vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INCHES_A_LAYER = 0.16
_LABELLED = 60
"""Up to so many layers have their names along the axes; of more, each network has its name alone."""
_LONGEST = 32
"""Characters of a network's name; longer ones are cut in the middle."""
_BESIDE = 6
"""So many curves are named in the picture; the names of more stand beside it."""
_STYLES = ("-", "--", ":", "-.")
"""Every ten curves, when colours are used up, lines look different."""

Names = Mapping[tuple[Any, ...], str]
"""What networks, by trial and epoch, are called."""


def heatmap(
    square: pd.DataFrame,
    title: str = "",
    low: float | None = None,
    high: float | None = None,
    colours: str = "magma",
    names: Names | None = None,
    label: str = "",
) -> Figure:
    """Return a heatmap of layers against layers, with lines between networks.

    Layers are named below and on the left, networks above and on the right.

    Args:
        square: Values; rows and columns are (trial, epoch, layer), as :meth:`analysis.results.Pairs.matrix` gives them.
        title: Stands above.
        low: The value of the darkest colour; None for the smallest there is.
        high: The value of the lightest; None for the largest.
        colours: A colour map of matplotlib.
        names: What networks are called; left out, by the first digits of the trial's signature and the epoch.
        label: What the values are, beside the colours.
    """
    cells = [min(max(2.5, count * _INCHES_A_LAYER), 14.0) for count in square.shape]
    # Names stand outside of the cells: layers below and on the left, networks above and on the right.
    below, left = (_longest(str(one[2]) for one in index) for index in (square.columns, square.index))
    above, right = (_longest(_network_ticks(index, names)[1]) for index in (square.columns, square.index))
    figure = Figure(figsize=(left + cells[1] + right + 1.2, above + cells[0] + below + 0.2), layout="constrained")
    axes = figure.subplots()
    aspect: Literal["equal", "auto"]
    aspect = "equal" if square.shape[0] == square.shape[1] else "auto"  # a few rows would be a thin line
    image = axes.imshow(square.to_numpy(), vmin=low, vmax=high, cmap=colours, interpolation="nearest", aspect=aspect)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for index, line, ticks, second, rotation in (
        (square.index, axes.axhline, axes.set_yticks, lambda: axes.secondary_yaxis("right").set_yticks, 0),
        (square.columns, axes.axvline, axes.set_xticks, lambda: axes.secondary_xaxis("top").set_xticks, 90),
    ):
        for border in _borders(index):
            line(border - 0.5, color="white", linewidth=0.6)
        networks = _network_ticks(index, names)
        if len(index) > _LABELLED:
            ticks(*networks, rotation=rotation, fontsize=6)
            continue
        ticks(range(len(index)), [str(one[2]) for one in index], rotation=rotation, fontsize=6)
        if len(networks[0]) > 1:
            second()(*networks, rotation=rotation, fontsize=6)
    if title:
        axes.set_title(title)
    return figure


def _longest(names: Iterable[str]) -> float:
    """Return how much room the longest name takes, in inches."""
    return 0.3 + 0.055 * max(map(len, names))


def _borders(index: pd.Index) -> list[int]:
    """Return where another network begins."""
    networks = [label[:2] for label in index]
    return [place for place in range(1, len(index)) if networks[place] != networks[place - 1]]


def _network_ticks(index: pd.Index, names: Names | None) -> tuple[list[float], list[str]]:
    """Return the middle of each network's layers and its name; of very many networks, every so many."""
    starts = [0, *_borders(index)]
    ends = [*starts[1:], len(index)]
    places = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    labels = [network_name(index[start][:2], names) for start in starts]
    step = -(-len(starts) // _LABELLED)
    return places[::step], labels[::step]


def network_name(network: tuple[Any, ...], names: Names | None) -> str:
    """Return what a network, by trial and epoch, is called in pictures."""
    trial, epoch = network
    known = names is not None and (trial, epoch) in names
    is_signature = len(str(trial)) == 16 and set(str(trial)) <= set("0123456789abcdef")
    name = names[trial, epoch] if known and names else f"{trial[:8]} {epoch}" if is_signature else str(trial)
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}"


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
    for number, curve in enumerate(found):
        style = _STYLES[number // 10 % len(_STYLES)]
        (line,) = axes.plot(curve.places, curve.mean, marker=".", linestyle=style, label=curve.label or None)
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.places, low, high, alpha=0.2, color=line.get_color())
    if names is not None:
        crowded = len(names) > 12
        turned: dict[str, Any] = {"rotation": 90} if crowded else {"rotation": 30, "ha": "right"}
        axes.set_xticks(range(len(names)), names, fontsize=6 if crowded else 8, **turned)
    elif pd.api.types.is_integer_dtype(frame[over].dtype):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 0.5
    axes.set_xlabel(over)
    axes.set_ylabel(figure)
    if by is not None:
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        places: dict[str, Any] = beside if len(found) > _BESIDE else {}
        axes.legend(title=by if isinstance(by, str) else ", ".join(by), fontsize=7, **places)
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
    axes.set_xlabel("principal coordinate 1")
    axes.set_ylabel("principal coordinate 2")
    if title:
        axes.set_title(title)
    return figure
