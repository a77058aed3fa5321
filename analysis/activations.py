"""A network's layers on a batch of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

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


_IN_USUAL_ORDER: WeakSet[GraphModule] = WeakSet()
"""Networks whose code takes it for granted that channels lie apart in memory, as ``view`` does."""


@torch.inference_mode()
def activations(model: GraphModule, images: torch.Tensor, patterns: Patterns) -> dict[str, torch.Tensor]:
    """Return the layers that ``patterns`` name, each ``(len(images), ...)``, in any order in memory.

    On a CPU a network gets its images with the channels of a pixel beside each other (``torch.channels_last``): small
    convolutional ones take 0.4 to 0.85 of the time that way. Values are those of ``model(images)`` up to rounding.

    Values that are no activations per image (sizes, tuples whose parts have names of their own, integers) are left out
    where a glob stands for them.

    Raises:
        GraphError: If a pattern matches no layer.
        AnalysisError: If a layer that is named is no activation per image, or nothing is left.
    """
    values = _computed(model, images, patterns)
    found = {name: value for name, value in values.items() if _is_activation(value, len(images))}
    for name in patterns:
        if name in values and name not in found:
            raise AnalysisError(f"layer {name!r} does not give a tensor of numbers for each image")
    if not found:
        raise AnalysisError(f"no layer of {', '.join(patterns)} gives a tensor of numbers for each image")
    return found


def _computed(model: GraphModule, images: torch.Tensor, patterns: Patterns) -> Mapping[str, Any]:
    if images.ndim == 4 and images.is_cpu and model not in _IN_USUAL_ORDER:
        try:
            # A copy even of images with one channel, whose strides else are those of both orders.
            return model(torch.empty_like(images, memory_format=torch.channels_last).copy_(images), outputs=patterns)
        except RuntimeError:  # that of `view`, or another one, which comes again
            _IN_USUAL_ORDER.add(model)
    return model(images, outputs=patterns)


def _is_activation(value: Any, images: int) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 0 and len(value) == images
