"""How far apart the classes lie.

Source: Kornblith et al. 2021, "Why do better loss functions lead to less transferable features?", arXiv:2010.16402,
equation 11.
"""

from __future__ import annotations

import torch

from analysis.arrays import Array, features


def class_separation(x: Array, labels: Array) -> float:
    """Return 1 minus the mean cosine distance within classes over that between all samples; classes weigh the same.

    Args:
        x: Activations, ``samples x ...``; further axes are flattened.
        labels: The class of each sample, integers.

    Returns:
        Up to 1 (each class is one direction); 0 if classes are not told apart. NaN if all samples point one way.

    Raises:
        ValueError: If the numbers differ, there are fewer than two classes, a value is not finite, or a sample's
            activations are all zero, which point nowhere.
    """
    matrix, classes = features(x), torch.as_tensor(labels).flatten()
    if len(matrix) != len(classes):
        raise ValueError(f"there are {len(matrix)} samples and {len(classes)} labels")
    norms = matrix.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ValueError(f"the activations of {int((norms == 0).sum())} samples are all zero: they point nowhere")
    members, counts = torch.unique(classes.to(matrix.device), return_inverse=True, return_counts=True)[1:]
    if len(counts) < 2:
        raise ValueError("class separation needs at least two classes")
    # The mean cosine between two classes is the inner product of the means of their unit vectors.
    means = torch.zeros(len(counts), matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    means = means.index_add_(0, members, matrix / norms) / counts[:, None]
    cosines = means @ means.T
    return float(1 - (1 - cosines.diagonal()).mean() / (1 - cosines).mean())
