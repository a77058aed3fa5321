"""CKA of all layers of all networks with all others, at the cost of one forward pass per network.

Each network becomes Gram vectors (:mod:`analysis.jobs.gram_vectors`), which wait on disk; then all pairs are products
of matrices, tile by tile: a tile is one block of networks against another, summed over minibatches in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from analysis.activations import patterns_of
from analysis.jobs.folder import ERRORS, JobFolder
from analysis.jobs.gram_vectors import KERNELS, GramOptions, Kernel, make_gram_work, read_gram_vectors
from analysis.jobs.per_network import device_of, make_missing, part_of, some
from analysis.jobs.summaries import read_layers
from analysis.networks import Networks
from analysis.pool import Actors, Pool, pool_of
from analysis.results import Pairs, errors_frame, pairs_frame
from analysis.stimuli import Data, make_stimuli
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
    name: str | None = None,
    actors: Actors | None = None,
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
        seed: Of the choice and the order of the images.
        name: The folder under ``analysis/`` in the store that keeps the result; what is there is not computed again.
        actors: Where to compute; by default in this process.
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
    fewest = 4 if unbiased else 2
    if min(batch_size, len(stimuli)) < fewest:
        raise AnalysisError(f"minibatches of {min(batch_size, len(stimuli))} images are too few for CKA: {fewest} are")
    options = GramOptions(patterns_of(layers), min(batch_size, len(stimuli)), kernel, bandwidth, unbiased)
    arguments = {**dataclasses.asdict(options), "layers": list(options.layers), "stimuli": stimuli.fingerprint}
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
            raise AnalysisError(f"no network could be used: {errors[0][3]}" if errors else "there are no layers")
        values = _all_pairs(files, memory, pool)
    result = Pairs(pairs_frame(places, places, {"value": values}))
    result.errors, result.networks = errors_frame(errors), networks.frame
    result.attrs["folder"] = str(folder.path)
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(result.errors, preserve_index=False))
    return result


_GRAMS, _SUFFIX = "grams", ".safetensors"


def _all_pairs(files: Sequence[tuple[Path, int]], memory: int, pool: Pool) -> np.ndarray:
    blocks = _blocks(files, memory)
    starts = np.cumsum([0, *(sum(count for _, count in block) for block in blocks)])
    hsic = np.empty((starts[-1], starts[-1]))
    tiles = list(itertools.combinations_with_replacement(range(len(blocks)), 2))
    tasks = [
        (one, other, [path for path, _ in blocks[one]], [path for path, _ in blocks[other]]) for one, other in tiles
    ]
    for done in pool.work_through(tasks, make_tile_work):
        if done.error is not None:
            raise AnalysisError(f"products of Gram vectors failed: {done.error}")
        one, other = done.task[:2]
        hsic[starts[one] : starts[one + 1], starts[other] : starts[other + 1]] = done.value
        hsic[starts[other] : starts[other + 1], starts[one] : starts[one + 1]] = done.value.T
    own = np.diag(hsic).copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return hsic / np.sqrt(np.outer(own, own))


def _blocks(files: Sequence[tuple[Path, int]], memory: int) -> list[list[tuple[Path, int]]]:
    """Cut the networks into blocks of which two fit into ``memory``."""
    blocks: list[list[tuple[Path, int]]] = [[]]
    filled = 0
    for path, layers in files:
        size = path.stat().st_size
        if blocks[-1] and 2 * (filled + size) > memory:
            blocks.append([])
            filled = 0
        blocks[-1].append((path, layers))
        filled += size
    return blocks


def make_tile_work() -> Callable[[Any], np.ndarray]:
    """Return the work of a pool: a tile of HSIC values, summed over minibatches in float64."""

    def work(task: tuple[int, int, list[Path], list[Path]]) -> np.ndarray:
        one, other, rows, columns = task
        left = torch.cat([read_gram_vectors(path) for path in rows], dim=1)
        right = left if one == other else torch.cat([read_gram_vectors(path) for path in columns], dim=1)
        total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64)
        for vectors, others in zip(left, right, strict=True):
            total += (vectors @ others.T).double()
        return total.numpy()

    return work
