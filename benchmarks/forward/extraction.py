"""Looking at hidden layers of torchvision's ResNet-18: a traced graph, hooks, and torchvision's feature extractor."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from forward.memory import peak_bytes
from forward.timing import Effort, quartiles_of_ratios, take_turns
from nnray.graph import GraphModule

Values = dict[str, Tensor]
Way = Callable[[Tensor], Values]

BARE = "bare pass"
EARLY = "layer1.0.bn1"
BATCHES = {"cpu": 4, "cuda": 64}


def requests(graph: GraphModule) -> dict[str, tuple[str, ...]]:
    """Return what is asked for. Additions and `flatten` are left out, since hooks do not see functions."""
    seen = tuple(name for name in graph.names if not name.endswith((".add", "flatten")))
    return {
        "one early layer": (EARLY,),
        "a block": tuple(name for name in seen if name.startswith("layer2.0.")),
        "every layer": seen,
    }


def ways(model: nn.Module, graph: GraphModule, names: tuple[str, ...]) -> dict[str, Way]:
    """Return the ways to get the layers' values, each from names to values."""
    extractor = create_feature_extractor(model, list(names))
    ways: dict[str, Way] = {
        BARE: lambda x: {"fc": model(x)},
        "graph": lambda x: graph(x, outputs=names),
        "hooks that clone": lambda x: with_hooks(model, names, x),
        "feature extractor": extractor,
    }
    if names == (EARLY,):
        ways["cut by hand"] = lambda x: {EARLY: to_early_layer(model, x)}
    return ways


def with_hooks(model: nn.Module, names: Iterable[str], x: Tensor) -> Values:
    """Run the whole model and keep copies of the layers' values; `relu_1` is the second use of `relu`."""
    values: Values = {}
    wanted = set(names)
    modules = dict(model.named_modules())

    def keep(module_name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        uses = 0

        def hook(_: nn.Module, __: Any, value: Tensor) -> None:
            nonlocal uses
            name = f"{module_name}_{uses}" if uses else module_name
            uses += 1
            if name in wanted:
                values[name] = value.clone()

        return hook

    of_modules = dict.fromkeys(re.sub(r"_\d+$", "", name) for name in names)
    handles = [modules[name].register_forward_hook(keep(name)) for name in of_modules]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return values


def to_early_layer(model: ResNet, x: Tensor) -> Tensor:
    """Run just to `layer1.0.bn1`, as one would write it by hand."""
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    block = model.layer1[0]
    return block.bn1(block.conv1(x))


def measure(device: str, pixels: int, effort: Effort | None) -> list[dict[str, Any]]:
    """Compare the ways for each request, on square images: values, peak memory and, where `effort` is given, time."""
    torch.manual_seed(0)
    model = resnet18().to(device).eval()
    graph = GraphModule.trace(model)
    x = torch.randn(BATCHES[device], 3, pixels, pixels, device=device)
    rows = []
    with torch.no_grad():
        for request, names in requests(graph).items():
            rows += [
                {"request": request, "layers": len(names), "device": device, "batch": len(x), **row}
                for row in _compare(ways(model, graph, names), x, device, effort)
            ]
    return rows


def _compare(sides: dict[str, Way], x: Tensor, device: str, effort: Effort | None) -> list[dict[str, Any]]:
    reference = sides["hooks that clone"](x)
    rows: dict[str, dict[str, Any]] = {}
    for side, way in sides.items():
        values = way(x)
        wrong = None
        if side != BARE:
            assert values.keys() == reference.keys(), side
            wrong = [name for name, value in values.items() if not torch.equal(value, reference[name])]
        del values
        rows[side] = {"way": side, "wrong_values": wrong, "peak_bytes": peak_bytes(_bound(way, x), device)}
        with torch.enable_grad():
            rows[side]["peak_bytes_with_grad"] = peak_bytes(_bound(way, x), device)
    if effort is not None:
        times = take_turns({side: _bound(way, x) for side, way in sides.items()}, device, effort)
        for side, row in rows.items():
            lower, middle, upper = quartiles_of_ratios(times[side], times[BARE])
            row |= {"ms": 1e3 * statistics.median(times[side]), "ratio": middle, "ratio_quartiles": [lower, upper]}
            row["rounds"] = len(times[side])
    return list(rows.values())


def _bound(way: Way, x: Tensor) -> Callable[[], Any]:
    return lambda: way(x)
