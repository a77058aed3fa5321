"""Pictures of results, for papers: ``figure.savefig("cka.pdf")`` writes vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    count = len(square)
    side = min(max(3.0, count * _INCHES_A_LAYER), 14.0)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(square.to_numpy(), vmin=low, vmax=high, cmap=colours, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8)
    networks = [label[:2] for label in square.index]
    borders = [place for place in range(1, count) if networks[place] != networks[place - 1]]
    for border in borders:
        axes.axhline(border - 0.5, color="white", linewidth=0.6)
        axes.axvline(border - 0.5, color="white", linewidth=0.6)
    if count <= _LABELLED:
        places, names = list(range(count)), [str(label[2]) for label in square.index]
    else:
        starts = [0, *borders]
        places = [(start + end - 1) // 2 for start, end in zip(starts, [*borders, count], strict=True)]
        names = [f"{square.index[start][0][:8]} {square.index[start][1]}" for start in starts]
    axes.set_xticks(places, names, rotation=90, fontsize=6)
    axes.set_yticks(places, names, fontsize=6)
    if title:
        axes.set_title(title)
    return figure


def curves(
    frame: pd.DataFrame, figure: str, over: str = "layer", by: str | Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Return a figure's mean over networks as a curve, with a band of one standard deviation.

    Args:
        frame: ``trial``, ``epoch``, ``layer`` and a column per figure, with more columns (of the configuration, say)
            where ``by`` names them.
        figure: The column to be shown.
        over: What runs along the axis: ``layer`` (in the order of the frame), ``epoch``, or another column.
        by: Columns that make a curve each; None for one curve.
        title: Stands above.
    """
    picture = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = picture.subplots()
    order = list(dict.fromkeys(frame[over])) if over == "layer" else sorted(frame[over].unique())
    places = np.arange(len(order)) if over == "layer" else np.asarray(order)
    groups: list[tuple[Any, pd.DataFrame]] = (
        [("", frame)] if by is None else list(frame.groupby([by] if isinstance(by, str) else list(by), sort=True))
    )
    for label, rows in groups:
        values = rows.groupby(over, sort=False)[figure].agg(["mean", "std"]).reindex(order)
        name = ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)
        (line,) = axes.plot(places, values["mean"], marker=".", label=name or None)
        spread = values["std"].fillna(0.0)
        axes.fill_between(places, values["mean"] - spread, values["mean"] + spread, alpha=0.2, color=line.get_color())
    if over == "layer":
        axes.set_xticks(places, [str(name) for name in order], rotation=90, fontsize=6)
    axes.set_xlabel(over)
    axes.set_ylabel(figure)
    if by is not None:
        axes.legend(title=by if isinstance(by, str) else ", ".join(by))
    if title:
        axes.set_title(title)
    return picture
