"""Results of analyses as pandas frames that know what they are tables of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDES = ("a", "b")
COORDINATES = ("trial", "epoch", "layer")
PAIR_COLUMNS = tuple(f"{name}_{side}" for side in SIDES for name in COORDINATES)


class Pairs(pd.DataFrame):
    """Layers against layers: ``trial_a``, ``epoch_a``, ``layer_a``, ``trial_b``, ``epoch_b``, ``layer_b``, ``value``.

    Both orders of a pair have a row.

    Attributes:
        errors: A frame of what could not be compared: ``trial``, ``epoch``, ``layer`` (None for all), ``error``.
    """

    _metadata = ["errors"]  # noqa: RUF012 - pandas' own way to carry attributes along

    errors: pd.DataFrame

    @property
    def _constructor(self) -> type[Pairs]:
        return Pairs

    def matrix(self) -> pd.DataFrame:
        """Return the values as a square: rows and columns are (trial, epoch, layer), in the order of this frame."""
        rows, columns = (
            pd.MultiIndex.from_frame(self[[f"{name}_{side}" for name in COORDINATES]].astype({f"trial_{side}": str}))
            for side in SIDES
        )
        order = {label: place for place, label in enumerate(dict.fromkeys([*rows, *columns]))}
        values = np.full((len(order), len(order)), np.nan)
        values[[order[label] for label in rows], [order[label] for label in columns]] = self["value"]
        index = pd.MultiIndex.from_tuples(list(order), names=COORDINATES)
        return pd.DataFrame(values, index=index, columns=index)

    def plot(self, **options: Any) -> Figure:  # type: ignore[override]
        """Return a heatmap of :meth:`matrix`; see :func:`analysis.plotting.heatmap` for the options."""
        from analysis.plotting import heatmap

        return heatmap(self.matrix(), **options)


class LayerFigures(pd.DataFrame):
    """Figures of single layers: ``trial``, ``epoch``, ``layer`` and a column per figure.

    Attributes:
        errors: As of :class:`Pairs`.
    """

    _metadata = ["errors"]  # noqa: RUF012

    errors: pd.DataFrame

    @property
    def _constructor(self) -> type[LayerFigures]:
        return LayerFigures

    def plot(self, figure: str | None = None, **options: Any) -> Figure:  # type: ignore[override]
        """Return curves of a figure over layers; see :func:`analysis.plotting.curves` for the options."""
        from analysis.plotting import curves

        names = [name for name in self.columns if name not in COORDINATES]
        return curves(pd.DataFrame(self), figure or names[0], **options)


def pairs_frame(places: Sequence[tuple[str, int, str]], values: np.ndarray) -> pd.DataFrame:
    """Return the long table of a square of values: every (trial, epoch, layer) of ``places`` against every other."""
    count = len(places)
    side_a, side_b = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
    columns: dict[str, Any] = {}
    for side, index in zip(SIDES, (side_a, side_b), strict=True):
        trials, epochs, layers = zip(*places, strict=True) if places else ((), (), ())
        columns[f"trial_{side}"] = pd.Categorical(trials).take(index)  # text repeated a million times, kept once
        columns[f"epoch_{side}"] = np.asarray(epochs, dtype=np.int64)[index]
        columns[f"layer_{side}"] = pd.Categorical(layers).take(index)
    return pd.DataFrame(columns | {"value": values.reshape(-1)})


def errors_frame(errors: Sequence[tuple[str, int, str | None, str]]) -> pd.DataFrame:
    """Return what could not be done as a frame: ``trial``, ``epoch``, ``layer``, ``error``."""
    return pd.DataFrame(list(errors), columns=[*COORDINATES, "error"]).astype({"epoch": "int64"})
