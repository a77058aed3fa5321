"""The table of a study's findings, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.jobs.combinations import LEAST_SQUARES, RANDOM, TRAINED
from analysis.results import Result
from analysis.stitched import Stitched
from nnray.errors import AnalysisError


class Findings(Result):
    """Findings of :func:`analysis.studies.frankenstein.frankenstein`, with the tables that they come from.

    Attributes:
        affine: Trained networks stitched by affine layers.
        low: The same by layers of low rank.
        behind: Trained networks behind the layers of one that never learned.
        matches: How alike activations are to those that they stand in for.
    """

    _metadata = ["errors", "networks", "affine", "low", "behind", "matches"]  # noqa: RUF012 - pandas' own way

    affine: Stitched
    low: Stitched
    behind: Stitched
    matches: pd.DataFrame

    @property
    def _constructor(self) -> type[Findings]:
        return Findings

    def plot(self, *, interactive: bool = False) -> Figure:  # type: ignore[override]
        """Return the findings as four pictures, for Matplotlib alone.

        Args:
            interactive: Must be False.

        Raises:
            AnalysisError: If it is True.
        """
        if interactive:
            raise AnalysisError("the findings have no interactive picture; .affine.plot(interactive=True) is one")
        figure = Figure(figsize=(10.0, 8.0), layout="constrained")
        axes = figure.subplots(2, 2)
        _draw_stages(axes[0, 0], self.affine, self.behind)
        _draw_ranks(axes[0, 1], self.low, self.affine)
        _draw_similarity(axes[1, 0], self.matches)
        _draw_fits(axes[1, 1], self.matches)
        for letter, one in zip("ABCD", axes.flat, strict=True):
            one.set_title(f"{letter}  {one.get_title()}", loc="left", fontsize=10)
            one.set_title("")
        return figure


def _draw_stages(axes: Axes, affine: Stitched, behind: Stitched) -> None:
    """Draw relative accuracy by layer, a curve for each way to stitch."""
    curves = [(stage, affine[affine["stage"] == stage]) for stage in (TRAINED, LEAST_SQUARES, RANDOM)]
    for label, rows in (*curves, ("trained, behind a network\nthat never learned", behind)):
        _draw_curve(axes, rows, "layer_b", list(dict.fromkeys(affine["layer_b"])), label)
    _draw_own(axes)
    layers = list(dict.fromkeys(affine["layer_b"]))
    axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("relative accuracy")
    axes.set_title("affine stitching (band: one standard deviation)")
    axes.legend(fontsize=7)


def _draw_ranks(axes: Axes, low: Stitched, affine: Stitched) -> None:
    """Draw relative accuracy by rank, a curve per layer, with that of full rank as a dashed line."""
    ranks = sorted(int(rank) for rank in low["rank"].unique())
    for layer in dict.fromkeys(low["layer_b"]):
        colour = _draw_curve(axes, low[low["layer_b"] == layer], "rank", ranks, layer)
        full = affine[(affine["layer_b"] == layer) & (affine["stage"] == TRAINED)]["relative_accuracy"].mean()
        axes.axhline(full, color=colour, linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(ranks)), [str(rank) for rank in ranks])
    axes.set_xlabel("rank of the trained stitching layer")
    axes.set_ylabel("relative accuracy")
    axes.set_title("low rank (dashed: full rank)")
    axes.legend(fontsize=7)


def _draw_similarity(axes: Axes, matches: pd.DataFrame) -> None:
    """Draw accuracy against the similarity of the layers before they are stitched."""
    for layer, rows in matches[matches["stage"] == TRAINED].groupby("layer", sort=False):
        axes.scatter(rows["cka_before"], rows["relative_accuracy"], s=14, label=str(layer))
    _draw_own(axes)
    axes.set_xlabel("linear CKA of the two layers")
    axes.set_ylabel("relative accuracy, trained")
    axes.set_title("similarity and accuracy, pairs of networks")
    axes.legend(fontsize=7)


def _draw_fits(axes: Axes, matches: pd.DataFrame) -> None:
    """Draw accuracy against how well activations are matched: from the fit (open) to the trained layer (filled)."""
    for number, (layer, rows) in enumerate(matches.groupby("layer", sort=False)):
        means = rows.groupby("stage")[["r2", "relative_accuracy"]].mean().loc[[LEAST_SQUARES, TRAINED]]
        colour = f"C{number}"
        axes.annotate(
            "",
            xy=(means["r2"].iloc[1], means["relative_accuracy"].iloc[1]),
            xytext=(means["r2"].iloc[0], means["relative_accuracy"].iloc[0]),
            arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 4, "shrinkB": 4},
        )
        axes.scatter([means["r2"].iloc[0]], [means["relative_accuracy"].iloc[0]], facecolors="none", edgecolors=colour)
        axes.scatter([means["r2"].iloc[1]], [means["relative_accuracy"].iloc[1]], color=colour, label=str(layer))
    _draw_own(axes)
    axes.set_xlabel("R² of the activations that are stood in for")
    axes.set_ylabel("relative accuracy")
    axes.set_title("from least squares (open) to trained (filled)")
    axes.legend(fontsize=7)


def _draw_curve(axes: Axes, rows: pd.DataFrame, over: str, order: Sequence[Any], label: str) -> Any:
    """Draw the mean of relative accuracy with its standard deviation, and return the colour."""
    values = rows.groupby(over)["relative_accuracy"].agg(["mean", "std"]).reindex(list(order))
    mean, spread = values["mean"].to_numpy(float), values["std"].fillna(0.0).to_numpy(float)
    (line,) = axes.plot(range(len(order)), mean, marker=".", label=label)
    axes.fill_between(range(len(order)), mean - spread, mean + spread, alpha=0.2, color=line.get_color())
    return line.get_color()


def _draw_own(axes: Axes) -> None:
    """Draw a network's own accuracy."""
    axes.axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
