"""All-pairs CKA of many networks with all their layers, beside the bare forward passes and beside pair by pair.

nnray    ``networks.cka(layers, data=images, batch_size=128)`` on a store that holds M convolutional networks of nine
         layers: reads tables and weights, makes Gram vectors, multiplies, writes and returns the table
forward  the same networks, loaded before, shown the same images in the same minibatches, in inference mode
last     the same with the channels of a pixel beside each other in memory, as nnray shows images on a CPU
pairs    CKA as torch_cka computes it: for every pair of networks and every minibatch both are run again, and HSIC_1 is
         computed for every pair of layers from their Gram matrices. Each round times a single pair of networks; all
         M (M - 1) / 2 pairs and the M networks with themselves take that often (torch_cka does one pair at a time)

Everything runs on one thread, in this process; sides take turns from round to round, and figures are medians of the
rounds' ratios. Times are processor time, which moves less than the clock's on a machine that others use. Networks
are all but untrained and images are noise, which makes no difference to the time.

    python benchmarks/analysis_cka.py --json analysis_cka.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from circumstances import circumstances

import analysis
from analysis.memory import freed_memory_kept
from analysis.stimuli import make_stimuli
from nnray.cli.main import main as nnray
from nnray.graph import GraphModule

LIBRARIES = ("torch", "numpy", "safetensors")
BATCH = 128
LAYERS = ("block*", "linear")
"""Nine: three blocks of convolution, rectification and (but for the last) pooling, and the linear layer."""
TOLERANCE = 1e-3
"""How far nnray may be from pair by pair in float64. That is timed in float32, where it is less exact."""
PAIRS_UP_TO = 20
"""Beyond so many networks, pair by pair is not measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--networks", default="5,20,100", help="numbers of networks (default: %(default)s)")
    parser.add_argument("--images", type=int, default=512, help="how many (default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="pixels along a side of an image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options = parser.parse_args()
    if options.images < BATCH:
        parser.error(f"--images: a minibatch has {BATCH}")
    torch.set_num_threads(1)
    images = torch.randn(options.images, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
    loads, figures = [os.getloadavg()[0]], []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        counts = sorted(int(word) for word in options.networks.split(","))
        make_networks(store, max(counts), options.side)
        for count in counts:
            figures.append(measure(analysis.open(store, "networks")[:count], images, options.rounds))
            loads.append(os.getloadavg()[0])
            print(_line(figures[-1]), flush=True)
    if options.json:
        report = {
            **circumstances(LIBRARIES, loads),
            "images": options.images,
            "side": options.side,
            "figures": figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def make_networks(store: Path, count: int, side: int) -> None:
    """Train so many networks for a moment, each from a seed of its own: the sweep ``networks`` of a store."""
    sweep = f"""from nnray import Sweep, grid

sweep = Sweep(
    name="networks",
    base={{
        "model": {{"class_path": "nnray.models.SimpleCNN", "init_args": {{"width": 16, "depth": 3}}}},
        "data": {{"class_path": "nnray.data.FakeData", "init_args": {{"size": 10, "image_size": {side}}}}},
        "optimizer": {{"class_path": "torch.optim.SGD", "init_args": {{"lr": 0.001}}}},
        "trainer": {{"max_epochs": 1}},
    }},
    space={{"seed": grid(range({count}))}},
)
"""
    space = store.parent / "networks.py"
    space.write_text(sweep, encoding="utf-8")
    with redirect_stdout(io.StringIO()) as said:
        status = nnray(["sweep", str(space), "--in-process", "--store", str(store)])
    if status:
        sys.exit(said.getvalue())


def measure(networks: analysis.Networks, images: torch.Tensor, rounds: int) -> dict[str, Any]:
    """Return seconds and ratios of the sides that take turns."""
    models = [network.load() for network in networks]
    counter = iter(range(10**6))
    count = len(models)
    pairs = count * (count + 1) // 2 if count <= PAIRS_UP_TO else None
    shown = torch.tensor(make_stimuli(networks, images).images)  # in the order in which nnray shows them
    sides: dict[str, Callable[[], Any]] = {
        "nnray": lambda: networks.cka(LAYERS, data=images, batch_size=BATCH, name=f"cka-{count}-{next(counter)}"),
        "forward": lambda: forward(models, shown),
        "last": lambda: forward(models, shown.to(memory_format=torch.channels_last)),
    }
    if pairs is not None:
        sides["pairs"] = lambda: cka_of_a_pair(models[0], models[-1], shown)
    found = {name: side() for name, side in sides.items()}  # once for what is done the first time alone
    exact = cka_of_a_pair(models[0], models[-1], shown, torch.float64).numpy()
    ours = found["nnray"].matrix().to_numpy()[: len(exact), -len(exact) :]
    if not (difference := np.abs(ours - exact).max()) < TOLERANCE:
        sys.exit(f"nnray and pair by pair do not agree: they differ by {difference}")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds):
        names = list(sides)[round_ % len(sides) :] + list(sides)[: round_ % len(sides)]
        for name in names:
            begun = time.process_time()
            with freed_memory_kept():  # as nnray's job does: the others are faster that way, too
                sides[name]()
            times[name].append((time.process_time() - begun) * ((pairs or 1) if name == "pairs" else 1))
    ratios = {f"over_{side}": _ratios(times["nnray"], times[side]) for side in ("forward", "last")}
    if pairs is not None:
        ratios["faster_than_pairs"] = _ratios(times["pairs"], times["nnray"])
    return {
        "networks": count,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": ratios,
    }


@torch.inference_mode()
def forward(models: Sequence[GraphModule], images: torch.Tensor) -> None:
    """Run every network on the images, in minibatches."""
    for model in models:
        for batch in images.split(BATCH)[: len(images) // BATCH]:
            model(batch)


@torch.inference_mode()
def cka_of_a_pair(
    one: GraphModule, other: GraphModule, images: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the minibatch CKA of all layers of one network with all of another, ``layers x layers``."""
    total: torch.Tensor | None = None
    for batch in images.split(BATCH)[: len(images) // BATCH]:
        first, second = (list(model(batch, outputs=LAYERS).values()) for model in (one, other))
        total = torch.zeros(len(first), len(second), 3, dtype=dtype) if total is None else total
        for row, x in enumerate(first):
            k = _gram(x.to(dtype))
            own = hsic1(k, k)
            for column, y in enumerate(second):
                l = _gram(y.to(dtype))  # noqa: E741 - the letters of the formula
                total[row, column] += torch.stack([hsic1(k, l), own, hsic1(l, l)])
    assert total is not None
    return total[..., 0] / (total[..., 1].sqrt() * total[..., 2].sqrt())


def hsic1(k: torch.Tensor, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
    """Return the unbiased estimate of HSIC (Song et al. 2012, equation 5) of Gram matrices without their diagonals."""
    n = len(k)
    ones = torch.ones(n, 1, dtype=k.dtype)
    product = k @ l
    middle = (ones.T @ k @ ones) * (ones.T @ l @ ones) / ((n - 1) * (n - 2))
    return (product.trace() + middle - (ones.T @ product @ ones) * 2 / (n - 2)).squeeze() / (n * (n - 3))


def _gram(values: torch.Tensor) -> torch.Tensor:
    flat = values.flatten(start_dim=1)
    return (flat @ flat.T).fill_diagonal_(0.0)


def _ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def _line(figures: dict[str, Any]) -> str:
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in figures["seconds"].items())
    ratios = ", ".join(f"{name} {ratio['median']:.1f}" for name, ratio in figures["ratios"].items())
    return f"{figures['networks']:4} networks: {seconds}; {ratios}"


if __name__ == "__main__":
    main()
