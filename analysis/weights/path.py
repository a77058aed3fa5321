"""Networks on the straight line between two, in weight space.

Sources: Frankle et al. 2020, arXiv:1912.05671 (linear mode connectivity, the error barrier); Jordan et al. 2023,
"REPAIR", arXiv:2211.08403 (why batch normalisation's statistics have to be gathered anew there).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn

from nnray.errors import AnalysisError
from nnray.graph import GraphModule


def interpolated(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return ``(1 - share) one + share other``; what is no floating-point number (a count, say) is taken from ``one``.

    Raises:
        AnalysisError: If the two are not of the same architecture.
    """
    for key in [*one, *other]:
        if key not in one or key not in other or one[key].shape != other[key].shape:
            shapes = [tuple(state[key].shape) if key in state else "none" for state in (one, other)]
            raise AnalysisError(f"the networks differ in their architecture: {key} has {shapes[0]} and {shapes[1]}")
    return {
        key: torch.lerp(value, other[key], share) if value.is_floating_point() else value for key, value in one.items()
    }


def networks_between(
    model: GraphModule,
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    shares: Sequence[float],
    images: Iterable[torch.Tensor],
) -> Iterator[tuple[float, GraphModule]]:
    """Yield the networks on the line from ``one`` to ``other``, each with its share of ``other``.

    Strictly between the ends, batch normalisation has the statistics of ``images``: the mean of those of two networks
    are not those of the network between them. The ends are the networks themselves.

    Args:
        model: A network of their architecture; it is left as it is.
        one: Weights and buffers of the network at 0.
        other: Of that at 1.
        shares: From 0 to 1.
        images: Minibatches, gone through once for each network.
    """
    between = copy.deepcopy(model)
    for share in shares:
        between.load_state_dict(interpolated(one, other, share))
        if 0 < share < 1:
            gather_statistics(between, images)
        yield share, between


@torch.no_grad()
def gather_statistics(model: nn.Module, images: Iterable[torch.Tensor]) -> None:
    """Let batch normalisations have the mean and variance of these images, in place; the model stays in eval mode.

    Args:
        model: The network.
        images: Minibatches, each of which weighs the same.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over minibatches
            norm.train()
        for batch in images:
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
