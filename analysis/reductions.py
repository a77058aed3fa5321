"""What is kept of a layer that is too large to be kept whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from nnray.errors import AnalysisError, did_you_mean

Reduction = Literal["mean", "max", "flatten"] | Callable[[torch.Tensor], torch.Tensor] | None


def reduced(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Return ``(n, ...)`` activations reduced.

    Args:
        values: ``(n, channels, ...)`` with the places behind the channels.
        reduction: ``mean`` or ``max`` over places (gives ``(n, channels)``; tokens ``(n, tokens, channels)`` are
            reduced over tokens), ``flatten`` (``(n, features)``), a function of such a tensor that keeps the first
            axis, or None for the values as they are.
    """
    if reduction is None:
        return values
    if callable(reduction):
        result = reduction(values)
        if not isinstance(result, torch.Tensor) or result.ndim == 0 or len(result) != len(values):
            raise AnalysisError(f"reduce: {reduction!r} doesn't return a tensor with a row for each of the images")
        return result
    if reduction == "flatten":
        return values.flatten(start_dim=1)
    if values.ndim < 3:
        return values
    places = (1,) if values.ndim == 3 else tuple(range(2, values.ndim))
    return values.mean(dim=places) if reduction == "mean" else values.amax(dim=places)


def check_reduction(reduction: Reduction) -> None:
    """Raise AnalysisError if there is no such reduction."""
    names = ("mean", "max", "flatten")
    if reduction is not None and not callable(reduction) and reduction not in names:
        raise AnalysisError(f"reduce: there is no {reduction!r}{did_you_mean(str(reduction), names)}")


def projected(values: torch.Tensor, dimensions: int, seed: int) -> torch.Tensor:
    """Return activations in few dimensions, by a random matrix that is the same for all networks.

    Entries are normal with variance ``1 / dimensions``, so that squared distances are kept on average, each with a
    relative standard deviation of ``sqrt(2 / dimensions)`` (Johnson & Lindenstrauss 1984; Vempala 2004, section 1.2).
    Layers that have no more features than that are flattened only.

    Args:
        values: ``(n, ...)``.
        dimensions: How many are kept.
        seed: Of the matrix.
    """
    flat = values.flatten(start_dim=1)
    if flat.shape[1] <= dimensions:
        return flat
    generator = torch.Generator().manual_seed(seed)  # on the CPU: a GPU's would draw others
    matrix = torch.randn(flat.shape[1], dimensions, generator=generator) / dimensions**0.5
    return flat.float() @ matrix.to(flat.device)
