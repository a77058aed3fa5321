"""What a linear classifier reads from a layer.

Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.
"""

from __future__ import annotations

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.arrays import Array, features, in_sample_space


def linear_probe(x: Array, labels: Array, penalty: float = 1.0, folds: int = 5, seed: int = 0) -> float:
    """Return the held-out accuracy of multinomial logistic regression on activations.

    Args:
        x: Activations, ``samples x ...``; further axes are flattened. They are centred and scaled as a whole, so that
            the penalty means the same for layers of any size.
        labels: The class of each sample, integers.
        penalty: The weight of the squared norm of the coefficients (1 / ``C`` of scikit-learn).
        folds: In how many folds samples are left out of the fit; each holds every class.
        seed: Of the shuffle that makes the folds.

    Returns:
        The mean over folds of the share of samples that are classified right, from 0 to 1.

    Raises:
        ValueError: If the numbers differ, a value is not finite, or a class has fewer samples than there are folds.
    """
    matrix, classes = features(x), torch.as_tensor(labels).flatten().cpu()
    if len(matrix) != len(classes):
        raise ValueError(f"there are {len(matrix)} samples and {len(classes)} labels")
    counts = torch.unique(classes, return_counts=True)[1]
    if len(counts) < 2:
        raise ValueError("a probe needs at least two classes")
    if int(counts.min()) < folds:
        raise ValueError(f"a class has {int(counts.min())} samples, too few for {folds} folds")
    matrix = in_sample_space(matrix - matrix.mean(dim=0))
    scale = matrix.square().sum(dim=1).mean().sqrt()
    points = (matrix / scale if scale > 0 else matrix).cpu().numpy()
    probe = make_pipeline(StandardScaler(with_std=False), LogisticRegression(C=1 / penalty, max_iter=1000))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(probe, points, classes.numpy(), cv=splits).mean())
