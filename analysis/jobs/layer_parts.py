"""A network's layers on all images, a few layers at a time where all together would not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from analysis.activations import Patterns, activations
from analysis.jobs.per_network import FORWARD_BATCH
from analysis.stimuli import Stimuli
from nnray.graph import GraphModule


def layers_by_parts(
    model: GraphModule, stimuli: Stimuli, patterns: Patterns, device: torch.device, memory: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each layer with its values on all images, ``(n, ...)``, on the device.

    Args:
        model: The network, on the device.
        stimuli: The images.
        patterns: Names or globs of layers.
        device: Where to compute.
        memory: Bytes that values may take together; one layer may take more. Where they would take more, the images
            are shown several times, each time for other layers.

    Raises:
        GraphError: If a pattern matches no layer.
        AnalysisError: If a layer that is named is no activation per image.
    """
    first = activations(model, next(stimuli.batches(1, device)), patterns)
    for names in _parts({name: value.nbytes * len(stimuli) for name, value in first.items()}, memory):
        values: dict[str, torch.Tensor] = {}
        start = 0
        for images in stimuli.batches(FORWARD_BATCH, device):
            for name, batch in activations(model, images, names).items():
                if name not in values:
                    values[name] = batch.new_empty(len(stimuli), *batch.shape[1:])
                values[name][start : start + len(batch)] = batch
            start += len(images)
        for name in names:
            yield name, values.pop(name)


def _parts(sizes: dict[str, int], memory: int) -> Iterator[tuple[str, ...]]:
    names: list[str] = []
    for name, size in sizes.items():
        if names and sum(sizes[other] for other in names) + size > memory:
            yield tuple(names)
            names = []
        names.append(name)
    yield tuple(names)
