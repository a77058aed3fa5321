"""Hidden layers of stored networks, beside the bare forward passes of the same networks, hooks and torchvision.

bare          the networks, loaded before, shown the images in minibatches of 256, in inference mode
last          the same with the channels of a pixel beside each other in memory, as nnray's jobs show images on a CPU
stream        ``networks.map(nothing, layers, data=images)``: weights read, layers computed and handed to a function
means         ``networks.extract(layers, data=images, reduce="mean")``: means over places are written to disk
extract       ``networks.extract(layers, data=images)``: whole layers are written to disk, in float32
half          the same with ``dtype="float16"``
hooks         forward hooks on the loaded networks that keep the values; in-place operations would overwrite them
clones        the same with a copy of each value
extractor     torchvision's ``create_feature_extractor`` on the same networks written by hand, made before
stored hooks  forward hooks, and each value written to a ``.npy`` file that is synchronised with the disk in the end:
              the limit that memory and disk set to ``extract``, where values are many and networks small

Everything runs on one thread, in this process; sides take turns from round to round, and figures are medians of the
rounds' ratios: bare time over a side's time, so that 1 is the rate of bare passes; ``of the limit`` is stored hooks'
time over that of ``extract``. Times are processor time, which moves less than the clock's on a machine that others use,
and has no waiting for a disk in it; ``--clock wall`` has, for a quiet machine. Every side keeps the memory that it
frees (:mod:`analysis.memory`), as nnray's jobs do: bare passes are faster that way, too. Networks are all but untrained
and images are noise, which makes no difference to the time.

    python benchmarks/analysis_extraction.py --json analysis_extraction.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from circumstances import circumstances
from forward.by_hand import ResNet20
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

import analysis
from analysis.jobs.per_network import FORWARD_BATCH
from analysis.memory import freed_memory_kept
from analysis.stimuli import make_stimuli
from nnray.cli.main import main as nnray
from nnray.graph import GraphModule

CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}
LIBRARIES = ("torch", "torchvision", "numpy", "safetensors")
Values = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """Networks of one architecture.

    Attributes:
        model: Its class and arguments.
        by_hand: Makes the same network without nnray, with state-dict entries in the same order.
        requests: Layers that are asked for.
    """

    model: dict[str, Any]
    by_hand: Callable[[], nn.Module]
    requests: dict[str, tuple[str, ...]]


def convolutional_by_hand() -> nn.Module:
    """Return ``nnray.models.SimpleCNN(width=16, depth=3)`` of modules in modules."""
    blocks: list[tuple[str, nn.Module]] = []
    for number, (old, new) in enumerate(((3, 16), (16, 32), (32, 64)), start=1):
        layers: list[tuple[str, nn.Module]] = [("conv", nn.Conv2d(old, new, 3, padding=1)), ("relu", nn.ReLU())]
        layers += [("pool", nn.MaxPool2d(2))] if number < 3 else []
        blocks.append((f"block{number}", nn.Sequential(OrderedDict(layers))))
    head: list[tuple[str, nn.Module]] = [("pool", nn.AdaptiveMaxPool2d(4)), ("flatten", nn.Flatten())]
    return nn.Sequential(OrderedDict([*blocks, *head, ("linear", nn.Linear(1024, 10))]))


FAMILIES = {
    "SimpleCNN": Family(
        {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 16, "depth": 3}},
        convolutional_by_hand,
        {"early": ("block1.relu",), "late": ("block3.*", "linear"), "every": ("*",)},
    ),
    "ResNet-20": Family(
        {"class_path": "nnray.models.ResNet", "init_args": {"depth": 20}},
        ResNet20,
        {"early": ("stem.relu",), "late": ("stage3.*.relu", "linear"), "every": ("*.relu", "linear")},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--families", default=",".join(FAMILIES), help="(default: %(default)s)")
    parser.add_argument("--networks", default="4", help="numbers of networks (default: %(default)s)")
    parser.add_argument("--images", default="512", help="numbers of images (default: %(default)s)")
    parser.add_argument("--requests", default="early,late,every", help="layers (default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="pixels along a side of an image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="processor", help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loads, figures = [os.getloadavg()[0]], []
    networks, images = ([int(word) for word in text.split(",")] for text in (options.networks, options.images))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.families.split(","):
            store = Path(folder) / name
            make_networks(store, FAMILIES[name].model, max(networks), options.side)
            for count in networks:
                for shown in images:
                    for request in options.requests.split(","):
                        chosen = analysis.open(store, "networks")[:count]
                        row = measure(chosen, FAMILIES[name], request, shown, options)
                        figures.append({"family": name, **row})
                        loads.append(os.getloadavg()[0])
                        print(_line(figures[-1]), flush=True)
    if options.json:
        report = {
            **circumstances(LIBRARIES, loads),
            "side": options.side,
            "figures": figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def make_networks(store: Path, model: dict[str, Any], count: int, side: int) -> None:
    """Train so many networks for a moment, each from a seed of its own: the sweep ``networks`` of a store."""
    space = store.parent / f"{store.name}.json"
    sweep = {
        "name": "networks",
        "base": {
            "model": model,
            "data": {"class_path": "nnray.data.FakeData", "init_args": {"size": 10, "image_size": side}},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001}},
            "trainer": {"max_epochs": 1},
        },
        "space": {"seed": list(range(count))},
    }
    space.write_text(json.dumps(sweep), encoding="utf-8")
    with redirect_stdout(io.StringIO()) as said:
        status = nnray(["sweep", str(space), "--in-process", "--store", str(store)])
    if status:
        sys.exit(said.getvalue())


def measure(
    networks: analysis.Networks, family: Family, request: str, count: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the rates of all sides, which take turns."""
    images = torch.randn(count, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
    shown = torch.from_numpy(make_stimuli(networks, images).images)  # in the order in which nnray shows them
    graphs = [network.load() for network in networks]
    patterns = family.requests[request]
    layers = tuple(graphs[0].prune(patterns).outputs)
    extractors = [create_feature_extractor(_by_hand(family, graph), _names_by_hand(layers)) for graph in graphs]
    folders = (networks.store / "analysis" / f"{request}-{number}" for number in range(10**6))

    def extract(**options: Any) -> analysis.Extracted:
        return networks.extract(patterns, data=images, name=next(folders).name, **options)

    sides: dict[str, Callable[[], Any]] = {
        "bare": lambda: [_over(graph, shown) for graph in graphs],
        "last": lambda: [_over(graph, shown.to(memory_format=torch.channels_last)) for graph in graphs],
        "stream": lambda: networks.map(nothing, patterns, data=images, name=next(folders).name),
        "means": lambda: extract(reduce="mean"),
        "extract": extract,
        "half": lambda: extract(dtype="float16"),
        "hooks": lambda: [hooked(graph, layers, shown, torch.Tensor.detach) for graph in graphs],
        "clones": lambda: [hooked(graph, layers, shown, torch.Tensor.clone) for graph in graphs],
        "extractor": lambda: [_over(extractor, shown) for extractor in extractors],
        "stored hooks": lambda: [stored(graph, layers, shown, next(folders)) for graph in graphs],
    }
    kept = _same(networks, extract(), graphs, extractors, layers, shown)
    times: dict[str, list[float]] = {name: [] for name in sides}
    clock = CLOCKS[options.clock]
    for round_ in range(-1, options.rounds):  # the first round is for what is done the first time alone
        turn = round_ % len(sides)
        for name in [*list(sides)[turn:], *list(sides)[:turn]]:
            begun = clock()
            with freed_memory_kept():
                sides[name]()
            if round_ >= 0:
                times[name].append(clock() - begun)
            shutil.rmtree(networks.store / "analysis", ignore_errors=True)
    return {
        "request": request,
        "layers": len(layers),
        "networks": len(graphs),
        "images": count,
        "bytes": kept,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "rates": {name: _rates(times["bare"], values) for name, values in times.items() if name != "bare"},
        "of_the_limit": _rates(times["stored hooks"], times["extract"]),
    }


def nothing(network: analysis.Network, activations: Values) -> int:
    """Look at no layer."""
    return len(activations)


@torch.inference_mode()
def _over(model: nn.Module, images: torch.Tensor) -> None:
    for batch in images.split(FORWARD_BATCH):
        model(batch)


@contextmanager
def _hooks(model: nn.Module, names: Sequence[str], keep: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(lambda _, __, value, name=name: keep(name, value)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def hooked(
    model: nn.Module, names: Sequence[str], images: torch.Tensor, kept: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Run the whole network and keep the values of a minibatch."""
    values: Values = {}
    with _hooks(model, names, lambda name, value: values.update({name: kept(value)})):
        for batch in images.split(FORWARD_BATCH):
            values.clear()
            model(batch)


@torch.inference_mode()
def stored(model: nn.Module, names: Sequence[str], images: torch.Tensor, folder: Path) -> None:
    """Run the whole network and write its layers, each to a file."""
    folder.mkdir(parents=True)
    files: dict[str, BinaryIO] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        if name not in files:
            facts = {"descr": "<f4", "fortran_order": False, "shape": (len(images), *value.shape[1:])}
            files[name] = (folder / f"{name}.npy").open("wb")
            np.lib.format.write_array_header_1_0(files[name], facts)
        files[name].write(value.numpy().data)

    with _hooks(model, names, keep):
        for batch in images.split(FORWARD_BATCH):
            model(batch)
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
        file.close()


def _by_hand(family: Family, graph: GraphModule) -> nn.Module:
    model = family.by_hand().eval()
    model.load_state_dict(dict(zip(model.state_dict(), graph.state_dict().values(), strict=True)))
    return model


def _names_by_hand(layers: Sequence[str]) -> list[str]:
    """Blocks in an ``nn.Sequential`` are numbered."""
    return [layer.replace(".block", ".") for layer in layers]


@torch.inference_mode()
def _same(
    networks: analysis.Networks,
    acts: analysis.Extracted,
    graphs: Sequence[GraphModule],
    extractors: Sequence[nn.Module],
    layers: Sequence[str],
    images: torch.Tensor,
) -> int:
    """Stop if the sides differ, or return the bytes that whole layers take."""
    for network, graph, extractor in zip(networks, graphs, extractors, strict=True):
        head = images[:FORWARD_BATCH]
        for layer, value in zip(layers, extractor(head).values(), strict=True):
            ours = torch.from_numpy(np.array(acts[network.trial, layer][: len(head)]))
            own = graph(head, outputs=[layer])[layer]
            if not (torch.allclose(ours, own, atol=1e-5) and torch.allclose(ours, value, atol=1e-4)):
                sys.exit(f"nnray, the graph and torchvision do not agree on {layer}")
    return sum(acts[row.trial, row.layer].nbytes for row in acts.index.itertuples())


def _rates(bare: list[float], ours: list[float]) -> dict[str, float]:
    rates = [one / other for one, other in zip(bare, ours, strict=True)]
    return {"median": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}


def _line(figures: dict[str, Any]) -> str:
    what = f"{figures['family']}, {figures['networks']} networks, {figures['images']} images, {figures['request']}"
    rates = ", ".join(f"{name} {rate['median']:.2f}" for name, rate in figures["rates"].items())
    limit = figures["of_the_limit"]["median"]
    return f"{what} ({figures['layers']} layers, {figures['bytes'] / 1e6:.0f} MB): {rates}; of the limit {limit:.2f}"


if __name__ == "__main__":
    main()
