"""`model(x)` of a graph against the same network written by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from forward.by_hand import ResNet20, ViTTiny
from forward.memory import peak_bytes
from forward.timing import Effort, quartiles_of_ratios, take_turns
from nnray.models import ImageNetResNet, ResNet, ViT


@dataclass(frozen=True)
class Network:
    """A network in both forms, and the sizes it is measured with."""

    graph: Callable[[], nn.Module]
    hand: Callable[[], nn.Module]
    own_key: Callable[[str], str]
    """From keys of the graph's state dict to those of the network by hand."""
    pixels: int
    batches: dict[str, tuple[int, ...]]
    """For each device a batch that shows the cost per operation, and one of a usual size."""


NETWORKS = {
    "ResNet-20": Network(
        graph=lambda: ResNet(depth=20),
        hand=ResNet20,
        own_key=lambda key: key.replace(".block", "."),
        pixels=32,
        batches={"cpu": (1, 32), "cuda": (1, 512)},
    ),
    "ResNet-18": Network(
        graph=lambda: ImageNetResNet(depth=18),
        hand=resnet18,
        own_key=lambda key: key,
        pixels=224,
        batches={"cpu": (1, 4), "cuda": (1, 128)},
    ),
    "ViT-tiny": Network(
        graph=ViT,
        hand=ViTTiny,
        own_key=lambda key: (
            key.removesuffix(".token").removesuffix(".embedding")
            if key.startswith(("class_token", "position"))
            else "blocks." + key.removeprefix("block")
            if key.startswith("block")
            else key
        ),
        pixels=32,
        batches={"cpu": (1, 8), "cuda": (1, 512)},
    ),
}


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """Return the graph and the network by hand, with the same weights."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    graph, hand = network.graph(), network.hand()
    hand.load_state_dict({network.own_key(key): value for key, value in graph.state_dict().items()})
    return graph, hand


def forward(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def forward_backward(model: nn.Module, x: Tensor) -> None:
    model(x).square().mean().backward()
    model.zero_grad(set_to_none=True)


def measure(name: str, device: str, backend: str | None, effort: Effort) -> list[dict[str, Any]]:
    """Compare the two forms: the forward pass with both batches, and the larger one with backward too.

    Args:
        name: One of `NETWORKS`.
        device: "cpu" or "cuda".
        backend: Of `torch.compile`, which then compiles both for each size of the batch, before the clock starts, and
            only the forward pass is measured; None leaves both as they are.
        effort: How long to measure.
    """
    network = NETWORKS[name]
    small, large = network.batches[device]
    passes: list[tuple[Callable[[nn.Module, Tensor], Any], int]] = [(forward, small), (forward, large)]
    if backend is None:
        passes.append((forward_backward, large))
    torch.compiler.reset()  # what was compiled for other networks counts towards the limit of recompilations
    graph, hand = (model.to(device).eval() for model in twins(name))
    if backend is not None:
        for model in (graph, hand):
            model.compile(backend=backend, dynamic=False)
    rows = []
    for call, batch in passes:
        x = torch.randn(batch, 3, network.pixels, network.pixels, device=device)
        difference = (forward(graph.eval(), x) - forward(hand.eval(), x)).abs().max().item()
        if call is forward_backward:
            graph.train()
            hand.train()
        sides = {"graph": _bound(call, graph, x), "hand": _bound(call, hand, x)}
        times = take_turns(sides, device, effort)
        lower, middle, upper = quartiles_of_ratios(times["graph"], times["hand"])
        row = {
            "network": name,
            "pass": call.__name__,
            "compiled": backend,
            "device": device,
            "batch": batch,
            "graph_ms": 1e3 * statistics.median(times["graph"]),
            "hand_ms": 1e3 * statistics.median(times["hand"]),
            "ratio": middle,
            "ratio_quartiles": [lower, upper],
            "rounds": len(times["graph"]),
            "graph_peak_bytes": peak_bytes(sides["graph"], device),
            "hand_peak_bytes": peak_bytes(sides["hand"], device),
            "largest_difference": difference,
        }
        rows.append(row)
    return rows


def _bound(call: Callable[[nn.Module, Tensor], Any], model: nn.Module, x: Tensor) -> Callable[[], Any]:
    return lambda: call(model, x)
