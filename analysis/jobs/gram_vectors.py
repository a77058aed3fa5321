"""Every layer of a network as Gram matrices, one for each minibatch, kept as vectors whose inner product is HSIC.

Notation: K is the Gram matrix of a layer on b images, with a linear or a Gaussian kernel, K' what centring makes of it.
U-centred, ``<K', L'> / (b (b - 3))`` is the unbiased estimate of HSIC; centred as usual, ``<K', L'> / (b - 1)^2`` is
the biased one. As K' is symmetric, its upper triangle says all: ``<K', L'> = 2 <u, v>``, with the diagonal divided by
sqrt(2).

Sources: see :mod:`analysis.similarity.cka`; Nguyen et al. 2021, arXiv:2010.15327, equations 2 and 3 (CKA over
minibatches: numerator and denominators are summed before they are divided).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from analysis.activations import Patterns, activations
from analysis.jobs.folder import part_key
from analysis.loading import Loader
from analysis.networks import Network
from analysis.similarity.cka import centred_gram, gaussians_of, squared_distances, u_centred_gram
from analysis.stimuli import Stimuli
from nnray.store.files import local_file, replacing

Kernel = Literal["linear", "rbf"]
KERNELS: tuple[Kernel, ...] = ("linear", "rbf")


@dataclass(frozen=True)
class GramOptions:
    """How Gram vectors are made.

    Attributes:
        layers: Names or globs.
        batch_size: Images in a minibatch; images that don't fill one are left out.
        kernel: Linear, or Gaussian as in :func:`analysis.similarity.rbf_cka`.
        bandwidth: Of the Gaussian.
        unbiased: How the matrices are centred.
        resampled: Whether to write instead what they are made of for any choice of images: inner products, or squared
            distances for a Gaussian kernel, ``batch_size x batch_size``.
    """

    layers: Patterns
    batch_size: int
    kernel: Kernel
    bandwidth: float
    unbiased: bool
    resampled: bool = False

    @property
    def fewest(self) -> int:
        """The fewest images in a minibatch."""
        return 4 if self.unbiased else 2


def make_gram_work(
    stimuli: Stimuli, store: Path, folder: Path, options: GramOptions, device: str
) -> Callable[[Network], list[tuple[str, str]]]:
    """Return the work of a pool: a network's Gram vectors are written to ``folder``.

    It returns the layers that are left out with the reason: those with activations that are not finite.
    """
    loader = Loader(store, torch.device(device), keep=1)

    def work(network: Network) -> list[tuple[str, str]]:
        model = loader.load(network.trial, network.epoch, options.layers)
        vectors, bad = _vectors(model, stimuli, options, torch.device(device))
        with replacing(folder / f"{part_key(network.trial, network.epoch)}.safetensors") as beside:
            facts = {"layers": json.dumps(list(vectors)), "bad": json.dumps(bad)}
            tensors = {str(place): vector for place, vector in enumerate(vectors.values())}
            save_file(tensors, beside, metadata=facts)
        return list(bad.items())

    return work


def read_gram_vectors(path: Path) -> torch.Tensor:
    """Return the Gram vectors in a file, ``minibatches x layers x length``, float32."""
    with local_file(path) as local, safe_open(local, framework="pt") as file:
        return torch.stack([file.get_tensor(str(place)) for place in range(len(file.keys()))], dim=1)


def _vectors(
    model: Any, stimuli: Stimuli, options: GramOptions, device: torch.device
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    size = min(options.batch_size, len(stimuli))
    batches = len(stimuli) // size
    as_vector = Vectors(size, options, device)
    vectors: dict[str, torch.Tensor] = {}
    bad: dict[str, str] = {}
    for batch, images in zip(range(batches), stimuli.batches(size, device), strict=False):
        for name, values in activations(model, images, options.layers).items():
            features = features_of(values)
            square = square_of(features, options)
            vector = as_vector(gram_of(square, options))
            if not bool(torch.isfinite(vector).all()):
                bad.setdefault(name, _why_not_finite(features, batch))
                continue
            if options.resampled:
                vector = square.reshape(-1)
            if name not in vectors:
                vectors[name] = torch.empty(batches, len(vector), dtype=torch.float32)
            vectors[name][batch] = vector
    return {name: vector for name, vector in vectors.items() if name not in bad}, bad


class Vectors:
    """Turns centred Gram matrices (``size x size``) into vectors whose inner product is half of theirs."""

    def __init__(self, size: int, options: GramOptions, device: torch.device) -> None:
        rows, columns = torch.triu_indices(size, size, offset=1 if options.unbiased else 0, device=device)
        self._flat = rows * size + columns
        self._diagonal = None if options.unbiased else rows == columns

    def __call__(self, gram: torch.Tensor) -> torch.Tensor:
        """Return the upper triangle; the diagonal, which is there once, weighs half."""
        vector = gram.reshape(-1)[self._flat]
        if self._diagonal is not None:
            vector[self._diagonal] /= 2**0.5
        return vector


def _why_not_finite(features: torch.Tensor, batch: int) -> str:
    where = f"{len(features)} images of minibatch {batch}"
    count = int((~torch.isfinite(features)).any(dim=1).sum())
    if count:
        return f"activations of {count} of the {where} are not finite"
    return f"activations of the {where} are too large for float32, or mostly equal under a Gaussian kernel"


def features_of(values: torch.Tensor) -> torch.Tensor:
    """Return activations as ``n x features``, float32, without a copy where channels come last in memory.

    Inner products don't depend on the order of features.
    """
    if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.flatten(start_dim=1).float()


def square_of(features: torch.Tensor, options: GramOptions) -> torch.Tensor:
    """Return what a Gram matrix is made of, ``n x n``: inner products, or squared distances (float64)."""
    if options.kernel == "rbf":
        return squared_distances(features.double())
    # Seen from the first image, features are about as small as from their mean, which keeps float32 precise: little is
    # left that centring the matrix cancels. And constant ones, of a dead unit say, are zero, not their mean's rounding.
    return own_products(features - features[:1])


def own_products(rows: torch.Tensor) -> torch.Tensor:
    """Return the inner products of all rows, ``n x n``."""
    # NumPy sees that the product is symmetric and computes half of it; PyTorch computes all.
    return torch.from_numpy(rows.numpy() @ rows.numpy().T) if rows.is_cpu else rows @ rows.T


def gram_of(square: torch.Tensor, options: GramOptions) -> torch.Tensor:
    """Return the centred Gram matrix of what :func:`square_of` returns, or of a choice of its rows and columns."""
    gram = gaussians_of(square.double(), options.bandwidth) if options.kernel == "rbf" else square
    return (u_centred_gram(gram) if options.unbiased else centred_gram(gram)).float()
