"""Networks or layers as points in the plane, as far apart as a measure says.

Source: Torgerson 1952, "Multidimensional scaling: I. Theory and method" (classical scaling).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.results import COORDINATES
from nnray.errors import AnalysisError

_AT_ITSELF = 1e-3
"""How near the value of a layer with itself has to be to 0 for a distance, to 1 for a similarity."""


def distances_of(square: pd.DataFrame) -> pd.DataFrame:
    """Return a square of distances: the values themselves if they are 0 on the diagonal, their arccos if they are 1.

    Raises:
        AnalysisError: If the diagonal is neither, or values are missing.
    """
    values = square.to_numpy()
    if square.shape[0] != square.shape[1] or np.isnan(values).any():
        raise AnalysisError("an embedding takes all pairs, and some have no value")
    diagonal = np.diag(values)
    if (np.abs(diagonal) < _AT_ITSELF).all():
        distances = values
    elif (np.abs(diagonal - 1) < _AT_ITSELF).all():
        distances = np.arccos(np.clip(values, -1, 1))
    else:
        raise AnalysisError("an embedding takes a distance or a similarity: 0 or 1 between a layer and itself")
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0.0)
    return pd.DataFrame(distances, index=square.index, columns=square.columns)


def between_networks(distances: pd.DataFrame) -> pd.DataFrame:
    """Return distances of networks: the mean over the layers that two of them both have.

    Raises:
        AnalysisError: If two networks have no layer in common.
    """
    long = distances.stack(list(distances.columns.names), future_stack=True)
    frame = pd.DataFrame({"value": long.to_numpy()})
    for place, name in enumerate([f"{name}_{side}" for side in "ab" for name in COORDINATES]):
        frame[name] = long.index.get_level_values(place)
    frame = frame[frame["layer_a"] == frame["layer_b"]]
    networks = list(dict.fromkeys(label[:2] for label in distances.index))
    order = pd.MultiIndex.from_tuples(networks, names=["trial", "epoch"])
    means = frame.groupby(["trial_a", "epoch_a", "trial_b", "epoch_b"])["value"].mean().unstack(["trial_b", "epoch_b"])
    means = means.reindex(index=order, columns=order)
    if means.isna().any(axis=None):
        raise AnalysisError("an embedding of networks goes by layers of equal names, and some have none in common")
    return means


def classical_scaling(distances: pd.DataFrame, dimensions: int = 2) -> pd.DataFrame:
    """Return points whose distances are near those given: the leading principal axes of the centred inner products.

    Args:
        distances: A symmetric square.
        dimensions: How many axes.

    Returns:
        Columns ``x``, ``y``, ... for each row of ``distances``; the first axis spreads the points most. The sign of
        each axis is such that the point farthest out has a positive value.
    """
    squared = distances.to_numpy() ** 2
    inner = squared - squared.mean(axis=0)
    inner = -(inner - inner.mean(axis=1, keepdims=True)) / 2
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    leading = np.argsort(-values)[:dimensions]
    points = vectors[:, leading] * np.sqrt(np.clip(values[leading], 0, None))
    signs = np.sign(points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])])
    points = points * np.where(signs == 0, 1, signs)
    if points.shape[1] < dimensions:
        points = np.pad(points, ((0, 0), (0, dimensions - points.shape[1])))
    names = ["x", "y", "z", *(f"axis{axis}" for axis in range(3, dimensions))][:dimensions]
    return pd.DataFrame(points, index=distances.index, columns=names)
