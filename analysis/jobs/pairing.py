"""All pairs of layers from the summaries of networks: which there are, which are missing, and the table of them.

What is kept is a file of values per tile (:mod:`analysis.jobs.tiles`). A job that was killed, or that is asked for more
networks, computes the pairs that no file holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.jobs import summaries, tiles
from analysis.jobs.folder import ERRORS, JobFolder, part_key
from analysis.jobs.mapping import read_rows
from analysis.jobs.per_network import Failure, part_of
from analysis.networks import Network, Networks
from analysis.pool import Pool
from analysis.progress import with_progress
from analysis.results import COORDINATES, Pairs, Place, errors_frame, pairs_frame
from analysis.similarity.measure import PairMeasure
from analysis.uncertainty import Resampling
from nnray.errors import AnalysisError, did_you_mean


@dataclass(frozen=True)
class Choice:
    """Which pairs there are.

    Attributes:
        rows: The networks of the sides ``a``.
        columns: Those of the sides ``b``.
        same: Which of ``trial``, ``epoch`` and ``layer`` the two sides have in common.
    """

    rows: tuple[Network, ...]
    columns: tuple[Network, ...]
    same: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.same:
            if name not in COORDINATES:
                raise AnalysisError(f"same: there is no {name!r}{did_you_mean(name, COORDINATES)}")

    def has(self, a: Network, b: Network) -> bool:
        """Tell whether two networks are compared."""
        return ("trial" not in self.same or a.trial == b.trial) and ("epoch" not in self.same or a.epoch == b.epoch)

    def pairs(self, symmetric: bool) -> Iterator[tiles.Keys]:
        """Yield pairs of networks, each once; in one order alone if a measure does not mind."""
        seen = set()
        for a, b in itertools.product(self.rows, self.columns):
            if self.has(a, b):
                keys = key_of(a), key_of(b)
                if symmetric and keys[0] > keys[1]:
                    keys = keys[1], keys[0]
                if keys not in seen:
                    seen.add(keys)
                    yield keys

    def networks(self) -> dict[str, Network]:
        """Return all networks by the names of their parts."""
        return {key_of(network): network for network in (*self.rows, *self.columns)}


def choice_of(networks: Networks, against: Networks | None, same: str | Sequence[str]) -> Choice:
    """Return which pairs a person asks for.

    Args:
        networks: The networks of the sides ``b``, and of the sides ``a`` too if there are no others.
        against: The networks of the sides ``a``.
        same: What sides have in common.

    Raises:
        AnalysisError: If there are no networks, or ``same`` names something else.
    """
    for side in (networks, *([] if against is None else [against])):
        if not len(side):
            raise AnalysisError("there are no networks: nothing is left of the table")
    names = (same,) if isinstance(same, str) else tuple(same)
    rows = networks if against is None else against
    return Choice(tuple(rows), tuple(networks), tuple(sorted(names)))


def key_of(network: Network) -> str:
    """Return what a network's parts are called."""
    return part_key(network.trial, network.epoch)


def pair_up(
    folder: JobFolder,
    choice: Choice,
    measure: PairMeasure,
    pool: Pool,
    *,
    errors: list[Failure],
    memory: int,
    device: str = "cpu",
    how: Resampling | None = None,
    images: int = 0,
) -> Pairs:
    """Return the values of all pairs, computing those that are missing, and write them as ``result.parquet``.

    Args:
        folder: The job's folder, with the summaries of networks.
        choice: Which pairs.
        measure: The measure.
        pool: What does the work.
        errors: What could not be summarised.
        memory: Bytes that a worker may take for summaries.
        device: Where workers compute.
        how: Which choices of samples make the intervals; None for none.
        images: How many samples there are.

    Raises:
        AnalysisError: If there are no summaries at all, or a file is damaged.
    """
    errors = list(errors)
    files, layers = {}, {}
    for key, network in choice.networks().items():
        path = part_of(folder, summaries.KIND, network, summaries.SUFFIX)
        if path.exists():
            layers[key], bad = summaries.read_layers(path)
            errors += [(network.trial, network.epoch, layer, reason) for layer, reason in bad.items()]
            files[key] = path
    if not any(layers.values()):
        folder.give_up(f"no network could be used: {errors[0][3]}" if errors else "there are no layers")
    pairs = [keys for keys in choice.pairs(measure.symmetric) if _have_pairs(keys, layers, choice)]
    known = _known(folder.path / tiles.KIND)
    there = set() if known.empty else set(zip(known["a"], known["b"], strict=True))
    missing = list(tiles.tiles_of([keys for keys in pairs if keys not in there], files, memory))
    if missing:
        place = folder.part(tiles.KIND, "", "")
        shared = (place, folder.path / summaries.KIND, measure, "layer" in choice.same, how, images, device)
        results = pool.work_through(missing, tiles.make_tile_work, shared)
        for done in with_progress(results, f"{folder.name}: pairs", len(missing)):
            if done.error is not None:
                for one, other in done.task.pairs:
                    network = choice.networks()[one]
                    errors.append((network.trial, network.epoch, None, f"against {other}: {done.error}"))
        known = _known(place)
    result = _assembled(choice, layers, known, measure.symmetric, errors)
    result.attrs |= {"folder": str(folder.path), "measure": measure.title}
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(result.errors, preserve_index=False))
    return result


def _have_pairs(keys: tiles.Keys, layers: dict[str, list[str]], choice: Choice) -> bool:
    """Tell whether two networks have layers that are compared."""
    one, other = (layers.get(key, []) for key in keys)
    if not one or not other:
        return False
    return "layer" not in choice.same or not set(one).isdisjoint(other)


def _known(place: Path) -> pd.DataFrame:
    """Return the rows of all tiles; a pair that two commands have computed is there once."""
    frames = [read_rows(path) for path in sorted(place.glob("*.parquet"))] if place.is_dir() else []
    if not frames:
        return pd.DataFrame()
    return pd.concat(frames, ignore_index=True).drop_duplicates(["a", "layer_a", "b", "layer_b"], ignore_index=True)


def _assembled(
    choice: Choice, layers: dict[str, list[str]], known: pd.DataFrame, symmetric: bool, errors: list[Failure]
) -> Pairs:
    names = choice.networks()
    rows, columns = (
        [(key_of(network), layer) for network in side for layer in layers.get(key_of(network), ())]
        for side in (choice.rows, choice.columns)
    )
    at_row, at_column = ({label: place for place, label in enumerate(side)} for side in (rows, columns))
    figures = [name for name in ("value", "low", "high") if name in known.columns] or ["value"]
    values = {name: np.full((len(rows), len(columns)), np.nan) for name in figures}
    if not known.empty:
        ends = [list(zip(known[side], known[f"layer_{side}"], strict=True)) for side in ("a", "b")]
        for one, other in (ends, ends[::-1]) if symmetric else (ends,):
            r = np.array([at_row.get(label, -1) for label in one])
            c = np.array([at_column.get(label, -1) for label in other])
            here = (r >= 0) & (c >= 0)
            for name in figures:
                values[name][r[here], c[here]] = known[name].to_numpy(dtype=np.float64)[here]
        failed = known[known["error"].notna() & known["a"].isin(names) & known["b"].isin(names)]
        asked = [choice.has(names[a], names[b]) for a, b in zip(failed["a"], failed["b"], strict=True)]
        for key, layer, reason in (
            failed.loc[asked, ["a", "layer_a", "error"]].drop_duplicates().itertuples(index=False)
        ):
            errors.append((names[key].trial, names[key].epoch, layer, reason))
    wanted = np.array([[choice.has(names[a], names[b]) for b in names] for a in names])
    order = {key: place for place, key in enumerate(names)}
    mask = wanted[np.ix_([order[key] for key, _ in rows], [order[key] for key, _ in columns])]
    if "layer" in choice.same:
        mask &= np.equal.outer([layer for _, layer in rows], [layer for _, layer in columns])
    sides: list[list[Place]] = [
        [(names[key].trial, names[key].epoch, layer) for key, layer in side] for side in (rows, columns)
    ]
    result = Pairs(pairs_frame(sides[0], sides[1], values, mask))
    result.errors = errors_frame(errors)
    return result
