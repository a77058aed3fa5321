"""Networks made of the first layers of one and the last layers of another: how much accuracy survives.

Source: Csiszárik et al. 2021, "Similarity and Matching of Neural Network Representations", arXiv:2110.14633 (matching
by least squares, and by training the stitching layer for the task from there); Bansal et al. 2021, arXiv:2106.07682
(the stitching penalty).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from analysis.activations import Patterns, activations, patterns_of
from analysis.jobs.folder import ERRORS, JobFolder, part_key
from analysis.jobs.mapping import read_rows
from analysis.jobs.per_network import FORWARD_BATCH, device_of, make_parts
from analysis.jobs.stitching_layers import KINDS, check_identity, fit_layer, resizing, stitching_layer
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.results import errors_frame
from analysis.stimuli import Data, Stimuli, make_stimuli
from nnray.errors import AnalysisError, NnrayError, did_you_mean
from nnray.graph import GraphModule, frozen, stitch
from nnray.store.files import replacing

IDENTITY = "identity"
STAGES = (IDENTITY, "random", "least-squares", "trained")
"""No layer at all, but for the size of images; a layer as it is made; fit to the activations that it stands in for;
trained for the task from there."""

_SIDE = 4
"""Pairs come in blocks of so many networks with so many, which a worker keeps, so that few are loaded again."""

Pair = tuple[Network, Network]


@dataclass(frozen=True)
class StitchingOptions:
    """What is done with each pair of layers.

    Attributes:
        kinds: Names of :data:`KINDS`.
        stages: Names of :data:`STAGES`.
        rank: Of low-rank layers, or the smaller width if that is less; inputs of each output of sparse ones.
        ridge: Of the least-squares fit.
        every_pair: Whether each chosen layer of the one goes with each of the other; else layers of equal names.
        epochs: Of training.
        lr: Of training, by AdamW.
        batch_size: Of training.
        seed: Of initial values and of the order of training.
    """

    kinds: tuple[str, ...]
    stages: tuple[str, ...]
    rank: int
    ridge: float
    every_pair: bool
    epochs: int
    lr: float
    batch_size: int
    seed: int


def stitching(
    networks: Networks,
    layers: str | Sequence[str],
    *,
    kinds: str | Sequence[str] = ("affine",),
    stages: str | Sequence[str] = STAGES[1:],
    rank: int = 8,
    ridge: float = 0.0,
    every_pair: bool = False,
    epochs: int = 5,
    lr: float = 0.001,
    batch_size: int = 128,
    data: Data = "test",
    n: int | None = None,
    fit_data: Data = "train",
    fit_n: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | None = None,
) -> pd.DataFrame:
    """Stitch every network to every other at the layers chosen, and return how well the results classify.

    Args:
        networks: Two networks or more that take the same images.
        layers: Names or globs.
        kinds: ``affine``, ``orthogonal``, ``low-rank``, ``sparse``.
        stages: ``identity`` (which is a row beside all kinds), ``random``, ``least-squares``, ``trained``.
        rank: Of low-rank layers; how many inputs each output of a sparse layer has.
        ridge: Penalty of the least-squares fit.
        every_pair: Whether each chosen layer goes with each; left out, with the one of its name.
        epochs: Of training the stitching layer.
        lr: Its learning rate (AdamW).
        batch_size: Its images in a batch.
        data: What accuracy is measured on: see :func:`analysis.stimuli.make_stimuli`.
        n: How many of those; None for all.
        fit_data: What stitching layers are fit to and trained on.
        fit_n: How many of those; None for all.
        seed: Of the choice of images, initial values and training.
        name: The folder under ``analysis/`` in the store; it keeps the stitching layers as well (``layers/``).
        actors: Where to compute; by default in this process.

    Returns:
        A row per pair of layers, kind and stage: the columns of pairs (``trial_a`` gives the first layers), ``kind``,
        ``stage``, ``accuracy``, ``own_accuracy`` of the second network, ``relative_accuracy`` (their ratio),
        ``penalty`` (their difference), and ``error`` where a pair could not be stitched. ``attrs["errors"]`` tells of
        pairs of networks that failed (``trial``, ``epoch``, ``layer``, ``error``), as ``errors.parquet`` does.

    Raises:
        AnalysisError: If an argument cannot be meant, there are no labels, or every pair fails.
    """
    options = StitchingOptions(
        _names("kinds", kinds, KINDS),
        _names("stages", stages, STAGES),
        rank,
        ridge,
        every_pair,
        epochs,
        lr,
        batch_size,
        seed,
    )
    patterns = patterns_of(layers)
    if len(networks) < 2:
        raise AnalysisError(f"stitching takes at least two networks, and there are {len(networks)}")
    shown, fit = make_stimuli(networks, data, n, seed), make_stimuli(networks, fit_data, fit_n, seed)
    if shown.labels is None or fit.labels is None:
        raise AnalysisError("stitching measures accuracy, and the images have no labels")
    arguments = {**asdict(options), "layers": list(patterns), "shown": shown.fingerprint, "fit": fit.fingerprint}
    folder = JobFolder(networks.store, "stitching", json.loads(json.dumps(arguments)), name)
    folder.open(networks)
    pairs = list(itertools.permutations(networks, 2))
    folder.part("layers", "", "")
    shared = (shown, fit, networks.store, folder.path, patterns, options, device_of(actors))
    with pool_of(actors) as pool:
        blocks = _in_blocks(list(networks))
        failed = make_parts(blocks, _of(folder), folder.name, make_stitching_work, shared, pool, len(shown))
    errors = errors_frame([(one.trial, one.epoch, None, f"with {other}: {error}") for (one, other), error in failed])
    frames = [read_rows(part) for part in map(_of(folder), pairs) if part.exists()]
    if not frames:
        raise AnalysisError(f"no pair could be stitched: {failed[0][1]}")
    result = pd.concat(frames, ignore_index=True)
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(errors, preserve_index=False))
    result.attrs |= {"errors": errors.to_dict("records"), "folder": str(folder.path)}
    return result


def _in_blocks(networks: Sequence[Network]) -> list[Pair]:
    """Return all pairs, those of the same few networks after each other."""
    place = {network: number // _SIDE for number, network in enumerate(networks)}
    return sorted(itertools.permutations(networks, 2), key=lambda pair: (place[pair[0]], place[pair[1]]))


def _names(argument: str, given: str | Sequence[str], known: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in known:
            raise AnalysisError(f"{argument}: there is no {name!r}{did_you_mean(name, known)}")
    return names


def _of(folder: JobFolder) -> Callable[[Pair], Path]:
    return lambda pair: folder.part("rows", _pair_key(pair), ".parquet")


def _pair_key(pair: Pair) -> str:
    return "--".join(part_key(network.trial, network.epoch) for network in pair)


def make_stitching_work(
    shown: Stimuli, fit: Stimuli, store: Path, folder: Path, patterns: Patterns, options: StitchingOptions, device: str
) -> Callable[[Pair], None]:
    """Return the work of a pool: all combinations of a pair of networks, of which a block is kept."""
    loader = Loader(store, torch.device(device), keep=2 * _SIDE)
    place = torch.device(device)

    def work(pair: Pair) -> None:
        first, second = (loader.load(network.trial, network.epoch) for network in pair)
        own = _accuracy(second, shown, place)
        rows: list[dict[str, Any]] = []
        layers: dict[str, torch.Tensor] = {}
        for layer_a, layer_b in _layer_pairs(first, second, fit, patterns, options.every_pair, place):
            sides = {f"{key}_a": value for key, value in _place(pair[0], layer_a).items()}
            sides |= {f"{key}_b": value for key, value in _place(pair[1], layer_b).items()}
            kinds = [*([IDENTITY] if IDENTITY in options.stages else []), *options.kinds]
            for kind in kinds:
                try:
                    for stage, via, accuracy in _combinations(
                        first, layer_a, second, layer_b, kind, shown, fit, options, place
                    ):
                        rows.append({**sides, "kind": kind, "stage": stage, **_figures(accuracy, own), "error": None})
                        prefix = f"{layer_a}->{layer_b}/{kind}/{stage}/"
                        layers |= {prefix + key: value.cpu().clone() for key, value in via.state_dict().items()}
                except NnrayError as error:
                    nothing = _figures(float("nan"), own)
                    rows.append({**sides, "kind": kind, "stage": None, **nothing, "error": str(error)})
        if not rows:
            raise AnalysisError(f"no layers of {pair[0]} and {pair[1]} go together; every_pair=True takes all")
        key = _pair_key(pair)
        with replacing(folder / "layers" / f"{key}.safetensors") as beside:
            save_file(layers, beside)
        with replacing(folder / "rows" / f"{key}.parquet") as beside:
            pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), beside)

    return work


def _place(network: Network, layer: str) -> dict[str, Any]:
    return {"trial": network.trial, "epoch": network.epoch, "layer": layer}


def _figures(accuracy: float, own: float) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "own_accuracy": own,
        "relative_accuracy": accuracy / own if own else float("nan"),
        "penalty": own - accuracy,
    }


def _layer_pairs(
    first: GraphModule, second: GraphModule, fit: Stimuli, patterns: Patterns, every: bool, device: torch.device
) -> list[tuple[str, str]]:
    images = next(fit.batches(1, device))
    names = [list(activations(model, images, patterns)) for model in (first, second)]
    pairs = itertools.product(*names)
    return [(one, other) for one, other in pairs if every or one == other]


def _combinations(
    first: GraphModule,
    layer_a: str,
    second: GraphModule,
    layer_b: str,
    kind: str,
    shown: Stimuli,
    fit: Stimuli,
    options: StitchingOptions,
    device: torch.device,
) -> Iterator[tuple[str, nn.Module, float]]:
    """Yield each stage with the stitching layer, as it is then, and the accuracy."""
    images = next(fit.batches(1, device))
    old = activations(first, images, (layer_a,))[layer_a].shape
    new = activations(second, images, (layer_b,))[layer_b].shape
    resize = resizing(old, new)
    if kind == IDENTITY:
        check_identity(old, new)
        yield IDENTITY, resize, _accuracy(stitch(first, layer_a, second, layer_b, via=resize).eval(), shown, device)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(options.seed, layer_a, layer_b, kind))
        core = stitching_layer(kind, old, new, options.rank)
        via = nn.Sequential(resize, core).to(device)
        stitched = stitch(first, layer_a, second, layer_b, via=via).eval()
        if "random" in options.stages:
            yield "random", via, _accuracy(stitched, shown, device)
        if set(options.stages) & {"least-squares", "trained"}:
            sides = (
                (
                    resize(activations(first, batch, (layer_a,))[layer_a]),
                    activations(second, batch, (layer_b,))[layer_b],
                )
                for batch in fit.batches(FORWARD_BATCH, device)
            )
            fit_layer(core, sides, options.ridge)
        if "least-squares" in options.stages:
            yield "least-squares", via, _accuracy(stitched, shown, device)
        if "trained" in options.stages:
            _train(stitched, via, fit, options, device)
            yield "trained", via, _accuracy(stitched, shown, device)


def _train(
    stitched: GraphModule, via: nn.Module, fit: Stimuli, options: StitchingOptions, device: torch.device
) -> None:
    """Train the stitching layer alone, on the cross-entropy of the second network's outputs."""
    optimizer = torch.optim.AdamW(via.parameters(), lr=options.lr)
    images = torch.from_numpy(np.array(fit.images))
    labels = torch.from_numpy(np.array(fit.labels)).long()
    with frozen(stitched, ["a.*", "b.*"]):
        for _ in range(options.epochs):
            for chosen in torch.randperm(len(images)).split(options.batch_size):
                loss = F.cross_entropy(stitched(images[chosen].to(device)), labels[chosen].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


@torch.inference_mode()
def _accuracy(model: GraphModule, shown: Stimuli, device: torch.device) -> float:
    predictions = [model(images).argmax(dim=1).cpu() for images in shown.batches(FORWARD_BATCH, device)]
    return float((torch.cat(predictions).numpy() == shown.labels).mean())


def _seed(seed: int, *parts: str) -> int:
    return int.from_bytes(hashlib.sha256("/".join([str(seed), *parts]).encode()).digest()[:4])
