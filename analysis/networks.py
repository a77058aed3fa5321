"""Trained networks as a lazy table: a row per network, that is, per trial and epoch. Only Parquet is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

import pandas as pd

import nnray
from analysis.loading import load_network
from nnray.counting import counted
from nnray.errors import AnalysisError, StoreError, did_you_mean
from nnray.store.metrics_log import best_value
from nnray.store.query import find_column, ordered, where
from nnray.store.store import Store

if TYPE_CHECKING:
    from analysis.extracted import Extracted
    from analysis.results import LayerFigures, Pairs, Paths, Rows
    from analysis.stitched import Stitched
    from analysis.studies.findings import Findings
    from analysis.weights.distances import WeightKind
    from nnray.graph import GraphModule

Epochs = Literal["last", "best", "all"] | int | Sequence[int]


@dataclass(frozen=True)
class Network:
    """One trained network: the weights of a trial after an epoch.

    Attributes:
        store: The store's folder.
        trial: The trial's signature.
        epoch: Counted from 0.
        name: The trial's name.
    """

    store: Path
    trial: str
    epoch: int
    name: str = ""

    def load(self) -> GraphModule:
        """Return the network as a graph in eval mode, on the CPU.

        Raises:
            StoreError: If its weights are lost or damaged.
            GraphError: If it is no graph and cannot be traced as one.
        """
        return load_network(self.store, self.trial, self.epoch)

    def __str__(self) -> str:
        return f"{self.name or self.trial} (epoch {self.epoch})"


def open(  # noqa: A001 - called as analysis.open
    store: str | Path | None = None, sweep: str | Iterable[str] | None = None, *, epochs: Epochs = "last"
) -> Networks:
    """Return the networks of one or more sweeps.

    Args:
        store: The store's folder, else ``$NNRAY_STORE``, else ``./nnray-store``.
        sweep: A sweep's name, a trial's signature, or several of either; all sweeps where it is left out.
        epochs: Which of a trial's kept checkpoints: see :meth:`Networks.epochs`.

    Raises:
        StoreError: If there is no such store, sweep or trial.
    """
    opened = nnray.open(store)
    sweeps = opened.sweeps()
    asked = sweeps if sweep is None else [sweep] if isinstance(sweep, str) else list(sweep)
    wanted = {name for name in asked if name not in sweeps}
    frames = {name: _checkpoints(opened, name) for name in (sweeps if wanted else dict.fromkeys(asked))}
    rows = [
        frame if name in asked else frame[frame["trial"].isin(wanted)] for name, frame in frames.items() if len(frame)
    ]
    found = {trial for frame in rows for trial in frame["trial"]}
    missing = sorted(wanted - found)
    if missing:
        raise StoreError(
            f"there is no sweep or trial {missing[0]!r} with kept weights in {opened.path}"
            f"{did_you_mean(missing[0], [*sweeps, *found])}"
        )
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"trial": [], "epoch": []})
    return Networks(opened.path, table.drop_duplicates(["trial", "epoch"], ignore_index=True)).epochs(epochs)


def _checkpoints(store: Store, sweep: str) -> pd.DataFrame:
    """Return a row per kept checkpoint, with its trial's columns; metrics are those of the checkpoint's epoch."""
    checkpoints, trials = store.checkpoints(sweep), store.trials(sweep)
    metric, mode = store.metric(sweep)
    own = [column for column in trials.columns if column == "trial" or column not in checkpoints.columns]
    table = checkpoints.merge(trials[own], on="trial", how="inner", sort=False)
    return table.assign(**{_BEST_EPOCH: _is_best(table, metric, mode)})


_BEST_EPOCH = "is best epoch"


def _is_best(table: pd.DataFrame, metric: str | None, mode: str | None) -> pd.Series:
    """Tell of each checkpoint whether its trial keeps none with a better value of the sweep's metric."""
    if metric is None or metric not in table.columns:
        return pd.Series(False, index=table.index)
    best = table.groupby("trial")[metric].transform(lambda values: best_value(values.tolist(), mode or "max"))
    return table[metric] == best


class Networks:
    """Networks to be studied together; to be had from :func:`analysis.open`.

    Every method that chooses returns new Networks and reads nothing.
    """

    def __init__(self, store: Path, checkpoints: pd.DataFrame, chosen: pd.Index | None = None) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._chosen = checkpoints.index if chosen is None else chosen

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self._store

    @property
    def frame(self) -> pd.DataFrame:
        """A row per network: ``trial``, ``epoch``, ``path``, metrics of that epoch, the trial's ``config/<key>``."""
        return self._checkpoints.loc[self._chosen].drop(columns=_BEST_EPOCH, errors="ignore").reset_index(drop=True)

    def where(self, condition: str) -> Networks:
        """Return the networks for which ``condition`` holds: ``"val_acc > 0.9 and width == 32"``.

        See :func:`nnray.store.query.where`, which ``nnray results --where`` uses as well.
        """
        return self._with(where(self._checkpoints.loc[self._chosen], condition).index)

    def sort(self, column: str, descending: bool = False) -> Networks:
        """Return the networks in the order of a column; those without a value come last."""
        rows = self._checkpoints.loc[self._chosen]
        return self._with(ordered(rows, find_column(rows, column), descending).index)

    def groupby(self, column: str | Sequence[str]) -> Iterator[tuple[Any, Networks]]:
        """Yield each value of a column with the networks that have it, in order of the values.

        Of several columns these are tuples, one for each combination that there is.
        """
        rows = self._checkpoints.loc[self._chosen]
        by = find_column(rows, column) if isinstance(column, str) else [find_column(rows, name) for name in column]
        for value, group in rows.groupby(by, dropna=False):
            yield value, self._with(group.index)

    def epochs(self, which: Epochs) -> Networks:
        """Return other epochs of the same trials.

        Args:
            which: ``last`` or ``best`` (by the sweep's metric; the last of equals) of those kept, ``all`` of them, or
                an epoch or a list of epochs counted from 0, of which each trial gives those that it keeps.

        Raises:
            AnalysisError: If no trial keeps an epoch that is asked for.
        """
        trials = self._checkpoints.loc[self._chosen, "trial"].drop_duplicates()
        rows = self._checkpoints[self._checkpoints["trial"].isin(trials)]
        # In the order in which the trials were, and of epochs within each.
        rank = pd.Series(range(len(trials)), index=trials.array)
        rows = rows.assign(_rank=rows["trial"].map(rank)).sort_values(["_rank", "epoch"], kind="stable")
        if isinstance(which, str):
            if which not in ("last", "best", "all"):
                raise AnalysisError(f"epochs: {which!r} is none of 'last', 'best', 'all' or a list of epochs")
            if which == "best":
                chosen = rows[rows[_BEST_EPOCH]]
                without = set(rows["trial"]) - set(chosen["trial"])
                if without:
                    raise AnalysisError(f"epochs='best': {len(without)} trials have no value of their sweep's metric")
                rows = chosen
            return self._with((rows if which == "all" else rows.drop_duplicates("trial", keep="last")).index)
        if not isinstance(which, Iterable):
            which = [which]
        kept = set(rows["epoch"])
        for epoch in which:
            if epoch not in kept:
                there = f"{min(kept)} ... {max(kept)}" if kept else "none"
                raise AnalysisError(f"no trial keeps weights of epoch {epoch}; there is: {there}")
        return self._with(rows[rows["epoch"].isin(list(which))].index)

    def extract(self, layers: str | Sequence[str] = "*", **options: Any) -> Extracted:
        """Write layers of all networks to disk: see :func:`analysis.jobs.extraction.extract`."""
        from analysis.jobs.extraction import extract

        return extract(self, layers, **options)

    def cka(self, layers: str | Sequence[str] = "*", **options: Any) -> Pairs:
        """Return the CKA of every layer with every other: see :func:`analysis.jobs.cka.cka`."""
        from analysis.jobs.cka import cka

        return cka(self, layers, **options)

    def compare(self, measure: str | Callable[..., Any], layers: str | Sequence[str] = "*", **options: Any) -> Pairs:
        """Return a measure of every layer with every other: see :func:`analysis.jobs.compare.compare`."""
        from analysis.jobs.compare import compare

        return compare(self, measure, layers, **options)

    def figures(self, layers: str | Sequence[str] = "*", **options: Any) -> LayerFigures:
        """Return figures of every layer, such as its dimension: see :func:`analysis.jobs.figures.figures`."""
        from analysis.jobs.figures import figures

        return figures(self, layers, **options)

    def stitching(self, layers: str | Sequence[str], **options: Any) -> Stitched:
        """Stitch every network to every other: see :func:`analysis.jobs.stitching.stitching`."""
        from analysis.jobs.stitching import stitching

        return stitching(self, layers, **options)

    def frankenstein(self, layers: str | Sequence[str] = "*relu*", **options: Any) -> Findings:
        """Ask which findings of Csiszárik et al. 2021 hold: see :func:`analysis.studies.frankenstein.frankenstein`."""
        from analysis.studies.frankenstein import frankenstein

        return frankenstein(self, layers, **options)

    def weight_distances(self, kind: WeightKind = "l2", **options: Any) -> Pairs:
        """Return how far apart weights are: see :func:`analysis.jobs.weight_distances.weight_distances`."""
        from analysis.jobs.weight_distances import weight_distances

        return weight_distances(self, kind, **options)

    def connectivity(self, **options: Any) -> Paths:
        """Return loss and accuracy between networks: see :func:`analysis.jobs.connectivity.connectivity`."""
        from analysis.jobs.connectivity import connectivity

        return connectivity(self, **options)

    def ntk_alignment(self, **options: Any) -> Pairs:
        """Return the alignment of tangent kernels: see :func:`analysis.jobs.ntk.ntk_alignment`."""
        from analysis.jobs.ntk import ntk_alignment

        return ntk_alignment(self, **options)

    def map(self, function: Callable[..., Any], layers: str | Sequence[str] = (), **options: Any) -> Rows:
        """Run a function of a network and its layers: see :func:`analysis.jobs.mapping.map_networks`."""
        from analysis.jobs.mapping import map_networks

        return map_networks(self, function, layers, **options)

    def __len__(self) -> int:
        return len(self._chosen)

    def __or__(self, other: Networks) -> Networks:
        """Return the networks of both, each once.

        Raises:
            AnalysisError: If they are of different stores.
        """
        if other.store != self.store:
            raise AnalysisError(f"networks of {self.store} and of {other.store} cannot be studied together")
        tables = [networks._checkpoints.loc[networks._chosen].assign(_own=True) for networks in (self, other)]
        rest = [networks._checkpoints.assign(_own=False) for networks in (self, other)]
        table = pd.concat([*tables, *rest], ignore_index=True).drop_duplicates(["trial", "epoch"], ignore_index=True)
        return Networks(self._store, table.drop(columns="_own"), table.index[table["_own"]])

    def __iter__(self) -> Iterator[Network]:
        columns = ["trial", "epoch", *(["name"] if "name" in self._checkpoints.columns else [])]
        for trial, epoch, *name in self._checkpoints.loc[self._chosen, columns].itertuples(index=False):
            yield Network(self._store, str(trial), int(epoch), *map(str, name))

    @overload
    def __getitem__(self, index: int) -> Network: ...
    @overload
    def __getitem__(self, index: slice) -> Networks: ...
    def __getitem__(self, index: int | slice) -> Network | Networks:
        if isinstance(index, slice):
            return self._with(self._chosen[index])
        if not isinstance(index, SupportsIndex):
            raise AnalysisError(
                f"networks[{index!r}]: a number or a slice is expected; where(\"trial == '...'\") finds a trial's"
            )
        return next(iter(self._with(self._chosen[[index]])))

    def __repr__(self) -> str:
        trials = self._checkpoints.loc[self._chosen, "trial"].nunique()
        return f"Networks({str(self._store)!r}: {counted(len(self), 'networks')} of {counted(trials, 'trials')})"

    def _with(self, chosen: pd.Index) -> Networks:
        return Networks(self._store, self._checkpoints, chosen)
