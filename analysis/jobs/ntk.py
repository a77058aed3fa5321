"""Alignment of the neural tangent kernels of networks: do they learn alike from here on?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from analysis.arrays import Array
from analysis.jobs.folder import JobFolder
from analysis.jobs.pairing import choice_of, key_of, pair_up
from analysis.jobs.per_network import device_of, make_missing
from analysis.jobs.summaries import KIND, SUFFIX, write_summaries
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.results import Pairs
from analysis.similarity.cka import centred_gram
from analysis.similarity.measure import PairMeasure, Tensors
from analysis.similarity.ntk import ntk
from analysis.stimuli import Data, Stimuli, make_stimuli
from analysis.weights.distances import WHOLE
from nnray.errors import AnalysisError

MEMORY_BYTES = 1_000_000_000
_IMAGES = 64
"""By default: the cost of a kernel grows with the square of the images."""


class _Alignment(PairMeasure):
    """The inner product of centred Gram matrices of norm 1; see :func:`analysis.similarity.ntk.kernel_alignment`."""

    title = "the alignment of kernels"

    def kept(self, x: Array) -> Tensors:
        return {"x": torch.as_tensor(x)}

    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        gram = centred_gram(kept["x"])
        return {"gram": gram / gram.norm()}

    def between(self, a: Tensors, b: Tensors) -> float:
        return float((a["gram"] * b["gram"]).sum())


def ntk_alignment(
    networks: Networks,
    *,
    against: Networks | None = None,
    same: str | Sequence[str] = (),
    data: Data = "test",
    n: int | None = None,
    sketch: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
    memory: int = MEMORY_BYTES,
) -> Pairs:
    """Return the centred alignment of the empirical neural tangent kernels of all pairs of networks.

    Args:
        networks: Networks that take the same images; architectures may differ.
        against: The networks of the sides ``a``: see :func:`analysis.jobs.compare.compare`.
        same: ``trial`` or ``epoch``, if both sides have them in common.
        data: The images: see :func:`analysis.stimuli.make_stimuli`.
        n: How many; by default 64, or all where there are fewer. The exact kernel of a network with P parameters takes
            ``8 n P`` bytes, and must fit ``memory``.
        sketch: For larger ones: keep so many numbers of a gradient; see :func:`analysis.similarity.ntk.ntk`.
        seed: Of the choice of images and of the sketch.
        name: The folder under ``analysis/`` in the store.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.
        memory: Bytes that a worker may take.

    Returns:
        A row per pair; their ``layer`` is ``*``, as kernels are of whole networks.

    Raises:
        AnalysisError: If there are no networks, or every network fails.
    """
    if sketch is not None and sketch < 1:
        raise AnalysisError(f"sketch is {sketch}, where a positive number is expected")
    choice = choice_of(networks, against, same)
    together = networks if against is None else against | networks
    stimuli = make_stimuli(together, data, n, seed, at_most=_IMAGES)
    if len(stimuli) < 2:
        raise AnalysisError(f"{len(stimuli)} images are too few for the alignment of kernels: it needs 2")
    arguments = {"stimuli": stimuli.fingerprint, "sketch": sketch, "seed": seed}
    folder = JobFolder(networks.store, "ntk", arguments, name)
    folder.open(together)
    shared = (stimuli, networks.store, folder.path / KIND, sketch, seed, memory, device_of(actors))
    with pool_of(actors) as pool:
        errors = make_missing(together, folder, KIND, SUFFIX, make_ntk_work, shared, pool, len(stimuli))
        result = pair_up(folder, choice, _Alignment(), pool, errors=errors, memory=memory)
    result.networks = together.frame
    return result


def make_ntk_work(
    stimuli: Stimuli, store: Path, folder: Path, sketch: int | None, seed: int, memory: int, device: str
) -> Callable[[Network], None]:
    """Return the work of a pool: the centred kernel of a network is written."""
    place = torch.device(device)
    loader = Loader(store, place, keep=1)
    measure = _Alignment()

    def work(network: Network) -> None:
        model = loader.load(network.trial, network.epoch)
        size = sum(parameter.numel() for parameter in model.parameters())
        if 8 * (sketch or size) * len(stimuli) > memory:
            kept = "sketched" if sketch else f"of {size} parameters"
            raise AnalysisError(f"gradients {kept} for {len(stimuli)} images don't fit the memory: lower n or sketch=")
        kernel = ntk(model, next(stimuli.batches(len(stimuli), place)), sketch, seed)
        finite = bool(torch.isfinite(kernel).all())
        layers = {WHOLE: measure.summary(measure.kept(kernel))} if finite else {}
        bad = {} if finite else {WHOLE: "the kernel is not finite"}
        write_summaries(folder / f"{key_of(network)}{SUFFIX}", layers, bad)

    return work
