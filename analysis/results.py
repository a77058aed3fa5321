"""Results of analyses as pandas frames that know what they are tables of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nnray.errors import AnalysisError, did_you_mean
from nnray.store.query import find_column

SIDES = ("a", "b")
COORDINATES = ("trial", "epoch", "layer")
PAIR_COLUMNS = tuple(f"{name}_{side}" for side in SIDES for name in COORDINATES)


PICTURES = (".pdf", ".svg", ".png", ".html")
"""How the names of pictures end."""


def check_picture(path: str | Path, endings: Sequence[str] = PICTURES) -> None:
    """Raise AnalysisError if no picture can be written there."""
    path = Path(path)
    if path.suffix not in endings:
        raise AnalysisError(f"{path.name}: a picture ends in {', '.join(endings)}")
    if not path.parent.is_dir():
        raise AnalysisError(f"{path.name}: there is no folder {path.parent}")


class Result(pd.DataFrame):
    """What results have in common.

    Attributes:
        errors: A frame of what could not be computed: ``trial``, ``epoch``, ``layer`` (None for all), ``error``.
        networks: A row per network, with its configuration and metrics: what :meth:`over` and pictures go by. A table
            that was read from Parquet has none until it is given ``nets.frame``.
    """

    _metadata = ["errors", "networks"]  # noqa: RUF012 - pandas' own way to carry attributes along

    errors: pd.DataFrame
    networks: pd.DataFrame

    def _known_networks(self) -> pd.DataFrame:
        networks = getattr(self, "networks", None)
        if networks is None:
            raise AnalysisError("this table does not know its networks: result.networks = nets.frame tells it")
        return networks

    def save(self, path: str | Path, *arguments: Any, **options: Any) -> None:
        """Write the picture that :meth:`plot` makes to a file.

        Args:
            path: ``.pdf`` and ``.svg`` (vectors), ``.png``, or ``.html``: one file with everything in it, to be looked
                at in a browser.
            arguments: Of :meth:`plot`.
            options: Of :meth:`plot`.

        Raises:
            AnalysisError: If it is no picture's name, or there is no such folder.
        """
        check_picture(path)
        if Path(path).suffix == ".html":
            self.plot(*arguments, interactive=True, **options).write_html(path, include_plotlyjs=True)
        else:
            self.plot(*arguments, **options).savefig(path)


class Pairs(Result):
    """Layers against layers: ``trial_a``, ``epoch_a``, ``layer_a``, ``trial_b``, ``epoch_b``, ``layer_b``, ``value``.

    Both orders of a pair have a row, unless one asked for some networks against others. Intervals are columns ``low``
    and ``high``.
    """

    @property
    def _constructor(self) -> type[Pairs]:
        return Pairs

    def matrix(self) -> pd.DataFrame:
        """Return the values as a table whose rows and columns are (trial, epoch, layer), in the order of this frame.

        A square, unless some networks or layers are on one side alone; NaN for pairs that are not there.
        """
        sides = [
            pd.MultiIndex.from_frame(self[[f"{name}_{side}" for name in COORDINATES]].astype({f"trial_{side}": str}))
            for side in SIDES
        ]
        orders = [{label: place for place, label in enumerate(dict.fromkeys(labels))} for labels in sides]
        if set(orders[0]) == set(orders[1]):
            orders[1] = orders[0]
        values = np.full([len(order) for order in orders], np.nan)
        places = [[order[label] for label in labels] for order, labels in zip(orders, sides, strict=True)]
        values[places[0], places[1]] = self["value"]
        rows, columns = (pd.MultiIndex.from_tuples(list(order), names=COORDINATES) for order in orders)
        return pd.DataFrame(values, index=rows, columns=columns)

    def over(self, key: str | Sequence[str] = "seed", *, same: bool = False, level: float = 0.95) -> Pairs:
        """Return means over networks that differ in ``key`` alone: see :func:`analysis.replicates.mean_of_pairs`.

        Args:
            key: Of the configuration; several for any combination.
            same: Whether both layers are of one network; left out, of two different ones.
            level: Of the interval ``low`` to ``high``.
        """
        from analysis.replicates import groups_of, mean_of_pairs

        result = Pairs(mean_of_pairs(self, groups_of(self._known_networks(), key), same, level))
        result.errors = self.errors
        result.attrs["measure"] = self.attrs.get("measure", "")
        return result

    def embedding(self, of: Literal["networks", "layers"] = "networks", dimensions: int = 2) -> pd.DataFrame:
        """Return points whose distances are near the values: columns ``x``, ``y``, ... by trial, epoch (and layer).

        Values that are similarities (1 between a layer and itself) become angles, their arccos. Distances of networks
        are means over layers of equal names. See :func:`analysis.embedding.classical_scaling`.

        Raises:
            AnalysisError: If there are not all pairs, or the values are neither distances nor similarities.
        """
        from analysis.embedding import between_networks, classical_scaling, distances_of

        distances = distances_of(self.matrix())
        return classical_scaling(between_networks(distances) if of == "networks" else distances, dimensions)

    def plot(  # type: ignore[override]
        self,
        kind: Literal["heatmap", "networks", "layers"] = "heatmap",
        *,
        by: str | None = None,
        interactive: bool = False,
        **options: Any,
    ) -> Any:
        """Return a picture.

        Args:
            kind: ``heatmap`` of :meth:`matrix`, or the :meth:`embedding` of ``networks`` or ``layers``.
            by: What colours points: ``layer``, ``epoch``, or a column of the networks' table.
            interactive: Whether it is a Plotly figure; else it is Matplotlib's.
            options: Of :func:`analysis.plotting.heatmap` or :func:`analysis.plotting.scatter`.
        """
        pictures = pictures_of(interactive)
        if kind == "heatmap":
            told = {"names": _names_of(self), "label": self.attrs.get("measure", "")}
            return pictures.heatmap(self.matrix(), **{**told, **options})
        if kind not in ("networks", "layers"):
            raise AnalysisError(f"there is no picture {kind!r}{did_you_mean(kind, ('heatmap', 'networks', 'layers'))}")
        points = self.embedding(kind)
        colours = None
        if by is not None:
            table = points.index.to_frame(index=False)
            colours = _with_columns(table, [by], self)[by]
        return pictures.scatter(points, colours, **options)


class LayerFigures(Result):
    """Figures of single layers: ``trial``, ``epoch``, ``layer`` and a column per figure."""

    @property
    def _constructor(self) -> type[LayerFigures]:
        return LayerFigures

    @property
    def figures(self) -> list[str]:
        """Names of the figures; the ends of their intervals are none."""
        return [name for name in self.columns if name not in COORDINATES and "/" not in name]

    def over(self, key: str | Sequence[str] = "seed", *, level: float = 0.95) -> pd.DataFrame:
        """Return means over networks that differ in ``key`` alone: see :func:`analysis.replicates.mean_of_figures`.

        Args:
            key: Of the configuration; several for any combination.
            level: Of Student's interval.
        """
        from analysis.replicates import groups_of, mean_of_figures

        return mean_of_figures(self, self.figures, groups_of(self._known_networks(), key), level)

    def plot(  # type: ignore[override]
        self,
        figure: str | None = None,
        *,
        over: str = "layer",
        by: str | Sequence[str] | None = None,
        interactive: bool = False,
        **options: Any,
    ) -> Any:
        """Return curves of a figure, the mean over networks with a band of one standard deviation.

        Args:
            figure: Its name; the first one by default.
            over: What runs along the axis: ``layer``, ``epoch``, or a column of the networks' table such as ``width``.
            by: What has a curve each, likewise.
            interactive: Whether it is a Plotly figure; else it is Matplotlib's.
            options: Of :func:`analysis.plotting.curves`.

        Raises:
            AnalysisError: If there is no such figure.
        """
        if figure is not None and figure not in self.figures:
            raise AnalysisError(f"there is no figure {figure!r}{did_you_mean(figure, self.figures)}")
        lines = [] if by is None else [by] if isinstance(by, str) else list(by)
        frame = _with_columns(pd.DataFrame(self), [over, *lines], self)
        return pictures_of(interactive).curves(frame, figure or self.figures[0], over=over, by=by, **options)


class Paths(Result):
    """Networks on lines between networks.

    Its columns are ``trial_a``, ``epoch_a``, ``trial_b``, ``epoch_b``, ``align``, ``alpha``, ``loss``, ``accuracy``.
    """

    @property
    def _constructor(self) -> type[Paths]:
        return Paths

    def barriers(self) -> pd.DataFrame:
        """Return how much higher loss rises between two networks than a straight line from the one's to the other's.

        A row per pair and ``align``: ``barrier`` is the largest such difference (0 if there is none), and
        ``accuracy_barrier`` that by which accuracy falls below.
        """
        keys = ["trial_a", "epoch_a", "trial_b", "epoch_b", "align"]
        rows = []
        for key, line in pd.DataFrame(self).groupby(keys, sort=False):
            line = line.sort_values("alpha")
            alpha = line["alpha"].to_numpy()
            heights = {}
            for name, sign in (("loss", 1.0), ("accuracy", -1.0)):
                values = line[name].to_numpy()
                heights[name] = float((sign * (values - (1 - alpha) * values[0] - alpha * values[-1])).max())
            rows.append([*key, heights["loss"], heights["accuracy"]])
        return pd.DataFrame(rows, columns=[*keys, "barrier", "accuracy_barrier"])

    def plot(self, figure: str = "loss", *, interactive: bool = False, **options: Any) -> Any:  # type: ignore[override]
        """Return the mean of ``loss`` or ``accuracy`` along the lines, a curve per alignment.

        Args:
            figure: Which of the two.
            interactive: Whether it is a Plotly figure; else it is Matplotlib's.
            options: Of :func:`analysis.plotting.curves`.
        """
        return pictures_of(interactive).curves(pd.DataFrame(self), figure, over="alpha", by="align", **options)


class Rows(pd.DataFrame):
    """What a person's own function says of networks.

    Attributes:
        errors: A frame of what failed: ``trial``, ``epoch``, ``layer`` (None), ``error``.
    """

    _metadata = ["errors"]  # noqa: RUF012 - pandas' own way to carry attributes along

    errors: pd.DataFrame

    @property
    def _constructor(self) -> type[Rows]:
        return Rows


def pictures_of(interactive: bool) -> Any:
    """Return the module that draws: Plotly's where pictures are interactive, else Matplotlib's."""
    from analysis import interactive as with_plotly
    from analysis import plotting

    return with_plotly if interactive else plotting


def _names_of(result: Result) -> dict[tuple[Any, ...], str] | None:
    """Return what the networks of a result are called; None if it does not know them."""
    networks = getattr(result, "networks", None)
    if networks is None or "name" not in networks.columns:
        return None
    several = networks["epoch"].nunique() > 1
    rows = networks[["trial", "epoch", "name"]].itertuples(index=False)
    return {(trial, epoch): f"{name} epoch {epoch}" if several else str(name) for trial, epoch, name in rows}


def _with_columns(table: pd.DataFrame, names: Sequence[str], result: Result) -> pd.DataFrame:
    """Return a table with columns that the networks' table has for its trials and epochs, under the names given."""
    for name in names:
        if name not in table.columns:
            networks = result._known_networks()
            column = find_column(networks, name)
            values = networks.set_index([networks["trial"].astype(str), "epoch"])[column]
            keys = pd.MultiIndex.from_arrays([table["trial"].astype(str), table["epoch"]])
            table = table.assign(**{name: values.reindex(keys).to_numpy()})
    return table


Place = tuple[str, int, str]
"""Trial, epoch and layer."""


def pairs_frame(
    rows: Sequence[Place],
    columns: Sequence[Place],
    values: Mapping[str, np.ndarray],
    wanted: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the long table of rectangles of values.

    Args:
        rows: What the sides ``a`` are.
        columns: What the sides ``b`` are.
        values: Names and ``len(rows) x len(columns)`` values.
        wanted: Which of them become rows of the table, booleans of that shape; None for all.
    """
    frame: dict[str, Any] = {}
    shape = len(rows), len(columns)
    chosen = slice(None) if wanted is None else wanted.reshape(-1)
    for side, places, axis in zip(SIDES, (rows, columns), (0, 1), strict=True):
        trials, epochs, layers = zip(*places, strict=True) if places else ((), (), ())
        for name, column in (("trial", trials), ("epoch", np.asarray(epochs, dtype=np.int64)), ("layer", layers)):
            text = None if name == "epoch" else pd.Categorical(column)  # repeated a million times, kept once
            one = np.asarray(column) if text is None else text.codes
            every = np.broadcast_to(np.expand_dims(one, 1 - axis), shape).reshape(-1)[chosen]
            frame[f"{name}_{side}"] = every if text is None else pd.Categorical.from_codes(every, dtype=text.dtype)
    frame |= {name: square.reshape(-1)[chosen] for name, square in values.items()}
    return pd.DataFrame(frame, copy=False)


def errors_frame(errors: Sequence[tuple[str, int, str | None, str]]) -> pd.DataFrame:
    """Return what could not be done as a frame: ``trial``, ``epoch``, ``layer``, ``error``."""
    return pd.DataFrame(list(errors), columns=[*COORDINATES, "error"]).astype({"epoch": "int64"})
