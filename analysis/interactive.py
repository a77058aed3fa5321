"""The pictures of :mod:`analysis.plotting` as Plotly figures: values under the pointer, zoom, curves to switch off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.plotting import Names, curves_of, network_name
from nnray.errors import AnalysisError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def heatmap(
    square: pd.DataFrame,
    title: str = "",
    low: float | None = None,
    high: float | None = None,
    colours: str = "magma",
    names: Names | None = None,
    label: str = "",
) -> Figure:
    """Return a heatmap; see :func:`analysis.plotting.heatmap`."""
    plotly = _plotly()
    rows, columns = (
        [f"{network_name(tuple(one[:2]), names)} {one[2]}" for one in index] for index in (square.index, square.columns)
    )
    image = plotly.Heatmap(
        z=square.to_numpy(),
        x=columns,
        y=rows,
        zmin=low,
        zmax=high,
        colorscale=colours,
        colorbar={"title": label},
        hovertemplate="%{y}<br>%{x}<br>%{z:.4g}<extra></extra>",
    )
    figure = plotly.Figure(image, layout={"title": title, "yaxis": {"autorange": "reversed"}})
    if square.shape[0] == square.shape[1]:
        figure.update_yaxes(scaleanchor="x")
    return figure


def curves(
    frame: pd.DataFrame, figure: str, over: str = "layer", by: str | Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Return curves with their spread; see :func:`analysis.plotting.curves`."""
    plotly = _plotly()
    found, names = curves_of(frame, figure, over, by)
    picture = plotly.Figure(layout={"title": title, "xaxis": {"title": over}, "yaxis": {"title": figure}})
    for curve in found:
        places = curve.places if names is None else names
        spread = {"type": "data", "array": curve.spread, "visible": bool(np.any(curve.spread))}
        picture.add_scatter(x=places, y=curve.mean, error_y=spread, name=curve.label, mode="lines+markers")
    picture.update_layout(showlegend=by is not None)
    return picture


def scatter(points: pd.DataFrame, colours: pd.Series | None = None, title: str = "") -> Figure:
    """Return points, each with its name under the pointer; see :func:`analysis.plotting.scatter`."""
    plotly = _plotly()
    names = np.array(_names(points.index))
    picture = plotly.Figure(layout={"title": title})
    picture.update_yaxes(scaleanchor="x")
    if colours is None or pd.api.types.is_numeric_dtype(colours.dtype):
        marker: dict[str, Any] = {}
        if colours is not None:
            marker = {"color": colours.to_numpy(), "showscale": True, "colorbar": {"title": str(colours.name)}}
        picture.add_scatter(x=points["x"], y=points["y"], text=names, mode="markers", marker=marker)
        return picture
    for name in dict.fromkeys(colours):
        own = (colours == name).to_numpy()
        picture.add_scatter(x=points["x"][own], y=points["y"][own], text=names[own], mode="markers", name=str(name))
    return picture


def _names(index: pd.Index) -> list[str]:
    """Return what is told of each row or column under the pointer."""
    return [" ".join(map(str, label)) for label in index]


def _plotly() -> Any:
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise AnalysisError("interactive pictures take Plotly: pip install 'nnray[plot]'") from error
    return plotly.graph_objects
