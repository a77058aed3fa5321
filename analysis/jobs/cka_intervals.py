"""Intervals of CKA over images: tiles of values of all images and of random choices of them.

Images are drawn within each minibatch (with several minibatches, these are strata), the same for all layers. Of a
layer there is what its Gram matrices are made of, so that a choice costs rows and columns of these, not a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.jobs.gram_vectors import GramOptions, Vectors, gram_of, read_gram_vectors
from analysis.uncertainty import Resampling


def make_resampled_work(options: GramOptions, how: Resampling) -> Callable[[Any], np.ndarray]:
    """Return the work of a pool: a tile of values and their intervals, ``3 x rows x columns``: value, low, high.

    Args:
        options: With ``resampled``.
        how: Which choices of images.
    """

    def work(task: tuple[int, int, list[Path], list[Path]]) -> np.ndarray:
        one, other, rows, columns = task
        left = torch.cat([read_gram_vectors(path) for path in rows], dim=1)
        right = None if one == other else torch.cat([read_gram_vectors(path) for path in columns], dim=1)
        value = _values(left, right, options, None, 0)
        drawn = np.stack([_values(left, right, options, how, number) for number in range(how.count)])
        return np.stack([value, *how.ends(drawn)])

    return work


def _values(
    left: torch.Tensor, right: torch.Tensor | None, options: GramOptions, how: Resampling | None, number: int
) -> np.ndarray:
    """Return the CKA of all layers of the one side with all of the other, of all images or of one choice.

    Args:
        left: ``minibatches x layers x batch_size^2``.
        right: The same; None for the same layers.
        options: How Gram matrices are made.
        how: Which choices of images; None for all.
        number: Which of the choices.
    """
    size, batches = options.batch_size, len(left)
    last = left if right is None else right
    products = np.zeros((left.shape[1], last.shape[1]))
    owns = [np.zeros(left.shape[1]), np.zeros(last.shape[1])]
    for batch in range(batches):
        index = torch.arange(size) if how is None else how.index(number * batches + batch, size)
        as_vector = Vectors(len(index), options, left.device)
        sides = [_chosen(side[batch], index, options, as_vector) for side in (left, right) if side is not None]
        products += (sides[0] @ sides[-1].T).double().numpy()
        for place, side in enumerate((sides[0], sides[-1])):
            owns[place] += side.double().square().sum(dim=1).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return products / np.sqrt(np.outer(*owns))


def _chosen(squares: torch.Tensor, index: torch.Tensor, options: GramOptions, as_vector: Vectors) -> torch.Tensor:
    """Return Gram vectors, ``layers x length``, of a choice of a minibatch's images."""
    places = index[:, None] * options.batch_size + index
    return torch.stack([as_vector(gram_of(square[places], options)) for square in squares])
