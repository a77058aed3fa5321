"""The work of stitching: all combinations of a pair of networks, of which some may be known from another job."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from analysis.activations import Patterns, activations
from analysis.jobs.combinations import (
    IDENTITY,
    LEAST_SQUARES,
    RANDOM,
    TRAINED,
    Form,
    StitchingOptions,
    Training,
    signature_of,
)
from analysis.jobs.per_network import FORWARD_BATCH, finite_outputs
from analysis.jobs.stitching_layers import check_identity, fit_layer, resizing, stitching_layer
from analysis.jobs.stitching_parts import Pair, Part, Via, known_of, pair_key
from analysis.loading import Loader
from analysis.stimuli import Stimuli
from nnray.errors import AnalysisError, NnrayError
from nnray.graph import GraphModule, frozen, stitch

SIDE = 4
"""Pairs come in blocks of so many networks with so many, which a worker keeps, so that few are loaded again."""


@dataclass(frozen=True)
class Images:
    """What stitched networks are shown.

    Attributes:
        shown: What accuracy is measured on.
        fit: What stitching layers are fit to and trained on.
    """

    shown: Stimuli
    fit: Stimuli

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hashes of both."""
        return {"shown": self.shown.fingerprint, "fit": self.fit.fingerprint}


def make_stitching_work(
    images: Images,
    store: Path,
    folder: Path,
    others: Sequence[Path],
    patterns: Patterns,
    options: StitchingOptions,
    device: str,
) -> Callable[[Pair], None]:
    """Return the work of a pool: a pair's rows and stitching layers are written to ``folder``.

    Args:
        images: What stitched networks are shown.
        store: The store's folder.
        folder: Where rows and layers go.
        others: Folders of jobs that may know some of the combinations.
        patterns: Names or globs of layers.
        options: Which combinations.
        device: Where to compute.
    """
    place = torch.device(device)
    loader = Loader(store, place, keep=2 * SIDE)

    def work(pair: Pair) -> None:
        first, second = (loader.load(network.trial, network.epoch) for network in pair)
        key = pair_key(pair)
        known = known_of(key, others)
        part = Part(key)
        own: float | None = None
        for layers in _layer_pairs(first, second, images.fit, patterns, options.every_pair, place):
            for form in options.forms():
                signatures = {
                    stage: signature_of(pair, layers, form, stage, options, images.fingerprints)
                    for stage in form.stages
                }
                rows = {stage: part.taken(known[one]) for stage, one in signatures.items() if one in known}
                missing = tuple(stage for stage in form.stages if stage not in rows)
                if missing:
                    own = _accuracy(second, images.shown, place) if own is None else own
                    sides = _sides(pair, layers) | {"kind": form.kind, "rank": form.rank}
                    wanted = Form(form.kind, form.rank, missing)
                    why = None
                    try:
                        for stage, via, accuracy in _stages(first, second, layers, wanted, images, options, place):
                            row = {**sides, "stage": stage, **_figures(accuracy, own), "signature": signatures[stage]}
                            rows[stage] = part.made(row, via)
                    except NnrayError as error:
                        why = str(error)
                    nothing = {**_figures(float("nan"), own), "path": None, "error": why}
                    for stage in missing:
                        rows.setdefault(stage, {**sides, "stage": stage, "signature": signatures[stage], **nothing})
                part.rows += [rows[stage] for stage in form.stages]
        if not part.rows:
            raise AnalysisError(f"no layers of {pair[0]} and {pair[1]} go together; every_pair=True takes all")
        part.write(folder)

    return work


def _sides(pair: Pair, layers: tuple[str, str]) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for side, network, layer in zip("ab", pair, layers, strict=True):
        sides |= {f"trial_{side}": network.trial, f"epoch_{side}": network.epoch, f"layer_{side}": layer}
    return sides


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


def _stages(
    first: GraphModule,
    second: GraphModule,
    layers: tuple[str, str],
    form: Form,
    images: Images,
    options: StitchingOptions,
    device: torch.device,
) -> Iterator[tuple[str, Via, float]]:
    """Yield each stage with the stitching layer, as it is then, and the accuracy."""
    layer_a, layer_b = layers
    image = next(images.fit.batches(1, device))
    old = activations(first, image, (layer_a,))[layer_a].shape
    new = activations(second, image, (layer_b,))[layer_b].shape
    resize = resizing(old, new)
    if form.kind == IDENTITY:
        check_identity(old, new)
        stitched = stitch(first, layer_a, second, layer_b, via=resize).eval()
        yield IDENTITY, Via(resize, old, new), _accuracy(stitched, images.shown, device)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(options.seed, layer_a, layer_b, form.kind))
        core = stitching_layer(form.kind, old, new, form.rank)
        via = Via(nn.Sequential(resize, core).to(device), old, new)
        stitched = stitch(first, layer_a, second, layer_b, via=via.layer).eval()
        if RANDOM in form.stages:
            yield RANDOM, via, _accuracy(stitched, images.shown, device)
        if {LEAST_SQUARES, TRAINED}.isdisjoint(form.stages):
            return
        sides = (
            (
                resize(activations(first, batch, (layer_a,))[layer_a]),
                activations(second, batch, (layer_b,))[layer_b],
            )
            for batch in images.fit.batches(FORWARD_BATCH, device)
        )
        fit_layer(core, sides, options.ridge)
        if LEAST_SQUARES in form.stages:
            yield LEAST_SQUARES, via, _accuracy(stitched, images.shown, device)
        if TRAINED in form.stages:
            _train(stitched, via.layer, images.fit, options.training, device)
            yield TRAINED, via, _accuracy(stitched, images.shown, device)


@torch.enable_grad()  # also where a caller has switched gradients off
def _train(stitched: GraphModule, via: nn.Module, fit: Stimuli, training: Training, device: torch.device) -> None:
    """Train the stitching layer alone, on the cross-entropy of the second network's outputs."""
    optimizer = torch.optim.AdamW(via.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    images = torch.from_numpy(np.array(fit.images))
    labels = torch.from_numpy(np.array(fit.labels)).long()
    with frozen(stitched, ["a.*", "b.*"]):
        for _ in range(training.epochs):
            for chosen in torch.randperm(len(images)).split(training.batch_size):
                loss = F.cross_entropy(stitched(images[chosen].to(device)), labels[chosen].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


@torch.inference_mode()
def _accuracy(model: GraphModule, shown: Stimuli, device: torch.device) -> float:
    outputs = torch.cat([model(images).cpu() for images in shown.batches(FORWARD_BATCH, device)])
    return float((finite_outputs(outputs).argmax(dim=1).numpy() == shown.labels).mean())


def _seed(seed: int, *parts: str) -> int:
    return int.from_bytes(hashlib.sha256("/".join([str(seed), *parts]).encode()).digest()[:4])
