"""Pairs of networks, tile by tile: a tile is a few networks against a few others, and one file of values."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from analysis.jobs.summaries import SUFFIX, read_summaries
from analysis.similarity.measure import PairMeasure, Tensors
from analysis.uncertainty import Resampling
from nnray.store.files import replacing

KIND = "values"
_MOST_NETWORKS = 8
"""On a side of a tile: a job that is killed loses no more than the tiles that it was at."""

Keys = tuple[str, str]
"""A pair of networks, by what their parts are called."""


@dataclass(frozen=True)
class Tile:
    """Pairs of networks that are compared together, as their files are read together."""

    pairs: tuple[Keys, ...]

    @property
    def name(self) -> str:
        """Of its file."""
        return hashlib.sha256(repr(self.pairs).encode()).hexdigest()[:16]


def tiles_of(pairs: Iterable[Keys], files: dict[str, Path], memory: int) -> Iterator[Tile]:
    """Cut pairs of networks into tiles, of which one takes no more than ``memory`` bytes if a pair takes less.

    Args:
        pairs: The pairs.
        files: Where each network's summaries lie.
        memory: Bytes.
    """
    blocks: dict[str, int] = {}
    block, filled, count = 0, 0, 0
    for key, path in files.items():
        size = path.stat().st_size
        if count and (count == _MOST_NETWORKS or 2 * (filled + size) > memory):
            block, filled, count = block + 1, 0, 0
        blocks[key], filled, count = block, filled + size, count + 1
    tiles: dict[tuple[int, int], list[Keys]] = {}
    for one, other in pairs:
        tiles.setdefault((blocks[one], blocks[other]), []).append((one, other))
    return (Tile(tuple(several)) for several in tiles.values())


def make_tile_work(
    folder: Path,
    summaries: Path,
    measure: PairMeasure,
    same_layer: bool,
    how: Resampling | None,
    images: int,
    device: str,
) -> Callable[[Tile], None]:
    """Return the work of a pool: a tile's values are written to ``folder``, a row per pair of layers.

    Args:
        folder: Where the files of tiles go.
        summaries: Where those of networks lie.
        measure: The measure.
        same_layer: Whether only layers of equal names are compared.
        how: Which choices of samples make the intervals; None for none.
        images: How many samples there are.
        device: Where to compute.
    """

    def work(tile: Tile) -> None:
        keys = dict.fromkeys(itertools.chain.from_iterable(tile.pairs))
        known = {key: read_summaries(summaries / f"{key}{SUFFIX}", torch.device(device)) for key in keys}
        pairs = [pair for keys in tile.pairs for pair in _layer_pairs(keys, known, measure.symmetric, same_layer)]
        whole = _summarised(known, measure, None) if how else known
        values, errors = _values(pairs, whole, measure)
        columns: dict[str, Any] = {"value": values}
        if how is not None:
            drawn = [
                _values(pairs, _summarised(known, measure, how.index(number, images)), measure)[0]
                for number in range(how.count)
            ]
            columns["low"], columns["high"] = how.ends(np.stack(drawn))
        sides = {name: [pair[place] for pair in pairs] for place, name in enumerate(("a", "layer_a", "b", "layer_b"))}
        table = pa.Table.from_pandas(pd.DataFrame({**sides, **columns, "error": errors}), preserve_index=False)
        with replacing(folder / f"{tile.name}.parquet") as beside:
            pq.write_table(table, beside)

    return work


_Pair = tuple[str, str, str, str]
_Known = dict[str, dict[str, Tensors]]


def _layer_pairs(keys: Keys, known: _Known, symmetric: bool, same_layer: bool) -> Iterator[_Pair]:
    one, other = keys
    for (place_a, layer_a), (place_b, layer_b) in itertools.product(enumerate(known[one]), enumerate(known[other])):
        told_by_other_order = symmetric and one == other and place_b < place_a
        if (layer_a == layer_b or not same_layer) and not told_by_other_order:
            yield one, layer_a, other, layer_b


def _summarised(known: _Known, measure: PairMeasure, index: torch.Tensor | None) -> _Known:
    """Return summaries of all samples, or of a choice of them; a layer whose choice has none is left out."""
    result: _Known = {}
    for key, layers in known.items():
        result[key] = {}
        for layer, kept in layers.items():
            if index is None:
                result[key][layer] = measure.summary(kept)
                continue
            with contextlib.suppress(ValueError):  # constant for these samples, say
                result[key][layer] = measure.summary(measure.chosen(kept, index))
    return result


def _values(pairs: Sequence[_Pair], known: _Known, measure: PairMeasure) -> tuple[np.ndarray, list[str | None]]:
    values, errors = np.full(len(pairs), np.nan), list[str | None]([None] * len(pairs))
    for place, (one, layer_a, other, layer_b) in enumerate(pairs):
        a, b = known[one].get(layer_a), known[other].get(layer_b)
        if a is None or b is None:
            continue
        try:
            values[place] = measure.between(a, b)
        except ValueError as error:
            errors[place] = str(error)
    return values, errors
