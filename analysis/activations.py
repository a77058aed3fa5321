"""A network's layers on a batch of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from nnray.errors import AnalysisError
from nnray.graph import GraphModule

Patterns = tuple[str, ...]


def patterns_of(layers: str | Iterable[str]) -> Patterns:
    """Return names and globs as a tuple."""
    patterns = (layers,) if isinstance(layers, str) else tuple(layers) if isinstance(layers, Iterable) else ()
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise AnalysisError(f"layers: names or globs such as 'stage*.relu' are expected, not {layers!r}")
    return patterns


@torch.inference_mode()
def activations(model: GraphModule, images: torch.Tensor, patterns: Patterns) -> dict[str, torch.Tensor]:
    """Return the layers that ``patterns`` name, each ``(len(images), ...)``.

    Values that are no activations per image (sizes, tuples whose parts have names of their own, integers) are left out
    where a glob stands for them.

    Raises:
        GraphError: If a pattern matches no layer.
        AnalysisError: If a layer that is named is no activation per image, or nothing is left.
    """
    values: Mapping[str, Any] = model(images, outputs=patterns)
    found = {name: value for name, value in values.items() if _is_activation(value, len(images))}
    for name in patterns:
        if name in values and name not in found:
            raise AnalysisError(f"layer {name!r} does not give a tensor of numbers for each image")
    if not found:
        raise AnalysisError(f"no layer of {', '.join(patterns)} gives a tensor of numbers for each image")
    return found


def _is_activation(value: Any, images: int) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 0 and len(value) == images
