"""Networks made of the first layers of one and the last layers of another: how much accuracy survives.

Source: Csiszárik et al. 2021, "Similarity and Matching of Neural Network Representations", arXiv:2110.14633 (matching
by least squares, and by training the stitching layer for the task from there); Bansal et al. 2021, arXiv:2106.07682
(the stitching penalty).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.activations import patterns_of
from analysis.jobs.combinations import STAGES, StitchingOptions, Training
from analysis.jobs.folder import ERRORS, JobFolder
from analysis.jobs.mapping import read_rows
from analysis.jobs.per_network import device_of, make_parts
from analysis.jobs.stitching_parts import LAYERS, ROWS, Pair, pair_key
from analysis.jobs.stitching_work import SIDE, Images, make_stitching_work
from analysis.networks import Networks
from analysis.pool import Actors, pool_of
from analysis.results import errors_frame
from analysis.stimuli import Data, make_stimuli
from analysis.stitched import Stitched
from nnray.errors import AnalysisError

_KIND = "stitching"


def stitching(
    networks: Networks,
    layers: str | Sequence[str],
    *,
    kinds: str | Sequence[str] = ("affine",),
    stages: str | Sequence[str] = STAGES[1:],
    rank: int | Sequence[int] = 8,
    ridge: float = 0.0,
    every_pair: bool = False,
    against: Networks | None = None,
    epochs: int = 5,
    lr: float = 0.001,
    batch_size: int = 128,
    weight_decay: float = 0.01,
    data: Data = "test",
    n: int | None = None,
    fit_data: Data = "train",
    fit_n: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
) -> Stitched:
    """Stitch every network to every other at the layers chosen, and return how well the results classify.

    Args:
        networks: Two networks or more that take the same images.
        layers: Names or globs.
        kinds: ``affine``, ``orthogonal``, ``low-rank``, ``sparse``.
        stages: ``identity`` (which is a row beside all kinds), ``random``, ``least-squares``, ``trained``.
        rank: Of low-rank layers; how many inputs each output of a sparse layer has. Of several, each is tried.
        ridge: Penalty of the least-squares fit.
        every_pair: Whether each chosen layer goes with each; left out, with the one of its name.
        against: The networks that give the first layers, all of which are stitched to ``networks``, but none to itself;
            left out, the same networks.
        epochs: Of training the stitching layer.
        lr: Its learning rate (AdamW).
        batch_size: Its images in a batch.
        weight_decay: The penalty on its weights (AdamW).
        data: What accuracy is measured on: see :func:`analysis.stimuli.make_stimuli`.
        n: How many of those; None for all.
        fit_data: What stitching layers are fit to and trained on.
        fit_n: How many of those; None for all.
        seed: Of the choice of images, initial values and training.
        name: The folder under ``analysis/`` in the store; it keeps the stitching layers as well (``layers/``).
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.

    Returns:
        A row per combination of a pair of layers, kind, rank and stage: the columns of pairs (``trial_a`` gives the
        first layers), ``kind``, ``rank`` (of low-rank and sparse layers), ``stage``, ``accuracy``, ``own_accuracy`` of
        the second network, ``relative_accuracy`` (their ratio), ``penalty`` (their difference), ``signature``, ``path``
        of the file in the job's folder that has the stitching layer, under the signature, and ``error`` where a pair
        could not be stitched. A combination that another stitching job of the store has made is taken from there.
        ``errors`` tells of pairs of networks that failed (``trial``, ``epoch``, ``layer``, ``error``), as
        ``errors.parquet`` does.

    Raises:
        AnalysisError: If an argument cannot be meant, there are no labels, or every pair fails.
    """
    options = options_of(kinds, stages, rank, ridge, every_pair, epochs, lr, batch_size, weight_decay, seed)
    patterns = patterns_of(layers)
    pairs = pairs_of(networks, against)
    together = networks if against is None else against | networks
    images = Images(make_stimuli(together, data, n, seed), make_stimuli(together, fit_data, fit_n, seed))
    if images.shown.labels is None or images.fit.labels is None:
        raise AnalysisError("stitching measures accuracy, and the images have no labels")
    arguments = {**asdict(options), "layers": list(patterns), **images.fingerprints}
    folder = JobFolder(networks.store, _KIND, json.loads(json.dumps(arguments)), name)
    folder.open(together)
    folder.part(LAYERS, "", "")
    others = _others(folder)
    shared = (images, networks.store, folder.path, others, patterns, options, device_of(actors))
    with pool_of(actors) as pool:
        blocks = _in_blocks(pairs)
        failed = make_parts(blocks, _of(folder), folder.name, make_stitching_work, shared, pool, len(images.shown))
    errors = errors_frame([(one.trial, one.epoch, None, f"with {other}: {error}") for (one, other), error in failed])
    frames = [read_rows(part) for part in map(_of(folder), pairs) if part.exists()]
    if not frames:
        folder.give_up(f"no pair could be stitched: {failed[0][1]}")
    result = Stitched(pd.concat(frames, ignore_index=True))
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(errors, preserve_index=False))
    result.errors, result.networks = errors, together.frame
    result.attrs["folder"] = str(folder.path)
    return result


def _others(folder: JobFolder) -> list[Path]:
    """Return the folders of other stitching jobs in the store: what they have made is not made again."""
    found = []
    for other in sorted(folder.path.parent.iterdir()):
        try:
            kind = json.loads((other / "job.json").read_text(encoding="utf-8"))["kind"]
        except (OSError, ValueError, KeyError, TypeError):  # no job, or a damaged one
            continue
        if kind == _KIND and other.name != folder.name:
            found.append(other)
    return found


def options_of(
    kinds: str | Sequence[str] = ("affine",),
    stages: str | Sequence[str] = STAGES[1:],
    rank: int | Sequence[int] = 8,
    ridge: float = 0.0,
    every_pair: bool = False,
    epochs: int = 5,
    lr: float = 0.001,
    batch_size: int = 128,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> StitchingOptions:
    """Return the options of :func:`stitching` as one.

    Raises:
        AnalysisError: If one of them cannot be meant.
    """
    ranks = (rank,) if isinstance(rank, int) else tuple(rank)
    training = Training(epochs, lr, batch_size, weight_decay)
    return StitchingOptions(_tuple(kinds), _tuple(stages), ranks, ridge, every_pair, training, seed)


def pairs_of(networks: Networks, against: Networks | None = None) -> list[Pair]:
    """Return who is stitched to whom: all ordered pairs of different networks.

    Args:
        networks: The networks that give the last layers.
        against: Those that give the first ones; None for the same.

    Raises:
        AnalysisError: If there are none.
    """
    firsts = networks if against is None else against
    pairs = [(one, other) for one, other in itertools.product(firsts, networks) if one != other]
    if not pairs:
        raise AnalysisError("stitching takes two networks or more, and there is no pair of different ones")
    return pairs


def _in_blocks(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs in another order: those of the same few networks come after each other."""
    networks = dict.fromkeys([one for one, _ in pairs] + [other for _, other in pairs])
    place = {network: number // SIDE for number, network in enumerate(networks)}
    return sorted(pairs, key=lambda pair: (place[pair[0]], place[pair[1]]))


def _tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _of(folder: JobFolder) -> Callable[[Pair], Path]:
    return lambda pair: folder.part(ROWS, pair_key(pair), ".parquet")
