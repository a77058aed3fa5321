"""CKA of all layers of all networks with all others, at the cost of one forward pass per network.

Each network becomes Gram vectors (:mod:`analysis.jobs.gram_vectors`), which wait on disk; then all pairs are products
of matrices, tile by tile: a tile is one block of networks against another, summed over minibatches in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from analysis.activations import patterns_of
from analysis.jobs.cka_intervals import make_resampled_work
from analysis.jobs.folder import ERRORS, JobFolder
from analysis.jobs.gram_vectors import (
    KERNELS,
    GramOptions,
    Kernel,
    make_gram_work,
    own_products,
    read_gram_vectors,
)
from analysis.jobs.per_network import device_of, make_missing, part_of, some
from analysis.jobs.summaries import read_layers
from analysis.networks import Networks
from analysis.pool import Actors, Pool, pool_of
from analysis.results import Pairs, errors_frame, pairs_frame
from analysis.stimuli import Data, make_stimuli
from analysis.uncertainty import Resampling, Way
from nnray.errors import AnalysisError, did_you_mean

MEMORY_BYTES = 1_000_000_000
"""What a worker's tile may take."""


def cka(
    networks: Networks,
    layers: str | Sequence[str] = "*",
    *,
    data: Data = "test",
    n: int | None = None,
    batch_size: int = 128,
    kernel: Kernel = "linear",
    bandwidth: float = 1.0,
    unbiased: bool = True,
    seed: int = 0,
    interval: Way | None = None,
    resamples: int = 200,
    level: float = 0.95,
    name: str | None = None,
    actors: Actors | int | None = None,
    memory: int = MEMORY_BYTES,
) -> Pairs:
    """Return the CKA of every layer of every network with every other, over minibatches.

    Args:
        networks: Networks that take the same images.
        layers: Names or globs.
        data: What they are shown: see :func:`analysis.stimuli.make_stimuli`.
        n: How many images; None for all.
        batch_size: Images in a minibatch. With one minibatch (``batch_size >= n``) the values are those of
            :func:`analysis.similarity.linear_cka`; with several, the unbiased ones are close to those of all images at
            once, the biased ones are not. Images that don't fill a minibatch are left out.
        kernel: Linear, or Gaussian as in :func:`analysis.similarity.rbf_cka`.
        bandwidth: Of the Gaussian.
        unbiased: Whether HSIC is estimated without bias.
        seed: Of the choice and the order of the images, and of what is drawn for intervals.
        interval: ``bootstrap`` or ``split-half`` give the columns ``low`` and ``high``: images are drawn within each
            minibatch, see :mod:`analysis.uncertainty`. Unbiased values of bootstraps come out too high, as copies of an
            image are similar to each other; ``split-half`` has no copies.
        resamples: How many choices of images make an interval.
        level: The share of the choices' values within the interval.
        name: The folder under ``analysis/`` in the store that keeps the result; what is there is not computed again.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.
        memory: Bytes that a worker may take for products, whatever the number of networks.

    Raises:
        AnalysisError: If there are no networks, too few images, or the networks were trained on different data.
        GraphError: If no network has such layers.
    """
    some(networks)
    if kernel not in KERNELS:
        raise AnalysisError(f"kernel: there is no {kernel!r}{did_you_mean(str(kernel), KERNELS)}")
    if not bandwidth > 0:
        raise AnalysisError(f"bandwidth is {bandwidth}, where a positive number is expected")
    stimuli = make_stimuli(networks, data, n, seed)
    size = min(batch_size, len(stimuli))
    how = None if interval is None else Resampling(interval, resamples, level, seed)
    options = GramOptions(patterns_of(layers), size, kernel, bandwidth, unbiased, how is not None)
    fewest = options.fewest * (2 if interval == "split-half" else 1)
    if size < fewest:
        raise AnalysisError(f"minibatches of {size} images are too few for CKA: it needs {fewest}")
    arguments = {**dataclasses.asdict(options), "layers": list(options.layers), "stimuli": stimuli.fingerprint}
    del arguments["resampled"]  # told by the interval, which older jobs have not
    if how is not None:
        arguments["interval"] = dataclasses.asdict(how)
    folder = JobFolder(networks.store, "cka", arguments, name)
    folder.open(networks)
    shared = (stimuli, networks.store, folder.path / _GRAMS, options, device_of(actors))
    with pool_of(actors) as pool:
        errors = make_missing(networks, folder, _GRAMS, _SUFFIX, make_gram_work, shared, pool, len(stimuli))
        places, files = [], []
        for network in networks:
            path = part_of(folder, _GRAMS, network, _SUFFIX)
            if path.exists():
                there, bad = read_layers(path)
                if there:  # else every layer is among the errors
                    files.append((path, len(there)))
                places += [(network.trial, network.epoch, layer) for layer in there]
                errors += [(network.trial, network.epoch, layer, reason) for layer, reason in bad.items()]
        if not places:
            folder.give_up(f"no network could be used: {errors[0][3]}" if errors else "there are no layers")
        values = _all_pairs(files, memory, pool) if how is None else _with_ends(files, memory, pool, options, how)
    result = Pairs(pairs_frame(places, places, values))
    result.errors, result.networks = errors_frame(errors), networks.frame
    result.attrs |= {"folder": str(folder.path), "measure": "CKA"}
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(result.errors, preserve_index=False))
    return result


_GRAMS, _SUFFIX = "grams", ".safetensors"


def _all_pairs(files: Sequence[tuple[Path, int]], memory: int, pool: Pool) -> dict[str, np.ndarray]:
    (hsic,) = _tiled(_blocks(files, memory), 1, make_tile_work, (), pool)
    own = np.diag(hsic).copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"value": hsic / np.sqrt(np.outer(own, own))}


def _with_ends(
    files: Sequence[tuple[Path, int]], memory: int, pool: Pool, options: GramOptions, how: Resampling
) -> dict[str, np.ndarray]:
    # What is made of a block's squares takes as much again, and a tile's values (float64) are there once per choice.
    most = max(1, math.isqrt(memory // (2 * 8 * how.count)))
    squares = _tiled(_blocks(files, memory // 2, most), 3, make_resampled_work, (options, how), pool)
    return dict(zip(("value", "low", "high"), squares, strict=True))


def _tiled(
    blocks: list[list[tuple[Path, int]]],
    count: int,
    make_work: Callable[..., Callable[[Any], np.ndarray]],
    shared: tuple[Any, ...],
    pool: Pool,
) -> np.ndarray:
    """Return ``count`` symmetric squares over all layers, of which the work makes a tile each."""
    starts = np.cumsum([0, *(sum(layers for _, layers in block) for block in blocks)])
    squares = np.empty((count, starts[-1], starts[-1]))
    tiles = list(itertools.combinations_with_replacement(range(len(blocks)), 2))
    tasks = [
        (one, other, [path for path, _ in blocks[one]], [path for path, _ in blocks[other]]) for one, other in tiles
    ]
    for done in pool.work_through(tasks, make_work, shared):
        if done.error is not None:
            raise AnalysisError(f"products of Gram vectors failed: {done.error}")
        one, other = done.task[:2]
        squares[:, starts[one] : starts[one + 1], starts[other] : starts[other + 1]] = done.value
        squares[:, starts[other] : starts[other + 1], starts[one] : starts[one + 1]] = done.value.swapaxes(-1, -2)
    return squares


def _blocks(files: Sequence[tuple[Path, int]], memory: int, most: int | None = None) -> list[list[tuple[Path, int]]]:
    """Cut the networks into blocks of which two fit into ``memory``, of at most ``most`` layers if one has no more."""
    blocks: list[list[tuple[Path, int]]] = [[]]
    filled = count = 0
    for path, layers in files:
        size = path.stat().st_size
        if blocks[-1] and (2 * (filled + size) > memory or (most is not None and count + layers > most)):
            blocks.append([])
            filled = count = 0
        blocks[-1].append((path, layers))
        filled, count = filled + size, count + layers
    return blocks


def make_tile_work() -> Callable[[Any], np.ndarray]:
    """Return the work of a pool: a tile of HSIC values, summed over minibatches in float64."""

    def work(task: tuple[int, int, list[Path], list[Path]]) -> np.ndarray:
        one, other, rows, columns = task
        left = torch.cat([read_gram_vectors(path) for path in rows], dim=1)
        right = left if one == other else torch.cat([read_gram_vectors(path) for path in columns], dim=1)
        total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64)
        for vectors, others in zip(left, right, strict=True):
            total += (own_products(vectors) if one == other else vectors @ others.T).double()
        return total.numpy()

    return work
