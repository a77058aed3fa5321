"""Pair measures of all layers of many networks, beside their plain functions pair by pair and the bare forward passes.

nnray     ``networks.compare(measure, layers, data=images)`` on a store that holds M small convolutional networks: reads
          tables and weights, shows the images, keeps of each layer what the measure compares it by, compares all pairs
          of layers and writes the table
function  the measure's plain function (``analysis.similarity``) on the layers as ``networks.extract`` has stored them,
          for each pair of layers, which prepares both layers anew each time. Pairs are drawn by chance, timed, and the
          mean is multiplied by the number of pairs, L (L + 1) / 2 for L layers of all networks together
forward   the same networks, loaded before, shown the same images, in inference mode

One of the numbers of networks, layers (of each network) and images grows at a time, from ``--networks``, ``--layers``
and ``--images``: the first of each is what the other two stay at. Everything runs on one thread, in this process; sides
take turns, and ratios are medians of the rounds'. Times are processor time. The script stops if a pair that was drawn
differs by more than 0.001 from its row in the table.

    python benchmarks/analysis_compare.py --json analysis_compare.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from analysis_cka import make_networks
from circumstances import circumstances

import analysis
from analysis import similarity
from analysis.jobs.per_network import FORWARD_BATCH
from analysis.memory import freed_memory_kept
from analysis.stimuli import make_stimuli

LIBRARIES = ("torch", "numpy", "scipy")
LAYERS = ("linear", "block3.relu", "block2.pool", "block1.pool", "block3.conv", "block2.relu", "block2.conv")
"""From 10 to 8,192 features an image of 32x32 pixels; the first so many are compared."""
TOLERANCE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--measures", default="procrustes,svcca,rsa,mutual_knn", help="(default: %(default)s)")
    parser.add_argument("--networks", default="5,10,20", help="numbers of networks (default: %(default)s)")
    parser.add_argument("--layers", default="3,1,7", help=f"numbers of layers, up to {len(LAYERS)} (%(default)s)")
    parser.add_argument("--images", default="256,128,512", help="numbers of images (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs that are drawn and timed (default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="pixels along a side of an image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args()
    grows = [[int(word) for word in text.split(",")] for text in (options.networks, options.layers, options.images)]
    torch.set_num_threads(1)
    loads, figures = [os.getloadavg()[0]], []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        make_networks(store, max(grows[0]), options.side)
        for networks, layers, images in cases(*grows):
            chosen = analysis.open(store, "networks")[:networks]
            shown = torch.randn(images, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
            for measure in options.measures.split(","):
                row = measured(chosen, measure, LAYERS[:layers], shown, options)
                figures.append({"measure": measure, "networks": networks, "layers": layers, "images": images, **row})
                loads.append(os.getloadavg()[0])
                print(_line(figures[-1]), flush=True)
    if options.json:
        report = {
            **circumstances(LIBRARIES, loads),
            "side": options.side,
            "figures": figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def cases(networks: list[int], layers: list[int], images: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield numbers of networks, layers and images of which no more than one differs from the first ones."""
    yield networks[0], layers[0], images[0]
    yield from ((count, layers[0], images[0]) for count in networks[1:])
    yield from ((networks[0], count, images[0]) for count in layers[1:])
    yield from ((networks[0], layers[0], count) for count in images[1:])


def measured(
    networks: analysis.Networks,
    measure: str,
    layers: tuple[str, ...],
    images: torch.Tensor,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return seconds and ratios of the sides, which take turns."""
    numbers = iter(range(10**6))
    models = [network.load() for network in networks]
    shown = torch.tensor(make_stimuli(networks, images).images)
    acts = networks.extract(layers, data=images, name=f"{measure}-{len(models)}-{len(layers)}-{len(images)}")
    places = [(network.trial, layer) for network in networks for layer in layers]
    drawn = random.Random(0).choices(places, k=2 * options.pairs)
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    count = len(places) * (len(places) + 1) // 2

    def nnray() -> analysis.results.Pairs:
        name = f"{measure}-{len(models)}-{len(layers)}-{len(images)}-{next(numbers)}"
        return networks.compare(measure, layers, data=images, name=name)

    def function() -> list[float]:
        return [getattr(similarity, measure)(np.array(acts[one]), np.array(acts[other])) for one, other in pairs]

    @torch.inference_mode()
    def forward() -> None:
        for model in models:
            for batch in shown.split(FORWARD_BATCH):
                model(batch)

    sides = {"nnray": nnray, "function": function, "forward": forward}
    _check(nnray(), pairs, function())
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(options.rounds):
        turn = round_ % len(sides)
        for name in [*list(sides)[turn:], *list(sides)[:turn]]:
            begun = time.process_time()
            with freed_memory_kept():
                sides[name]()
            times[name].append((time.process_time() - begun) * (count / len(pairs) if name == "function" else 1))
    return {
        "pairs": count,
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {
            "over_forward": _ratios(times["nnray"], times["forward"]),
            "faster_than_function": _ratios(times["function"], times["nnray"]),
        },
    }


def _check(table: analysis.results.Pairs, pairs: list[tuple[Any, Any]], values: list[float]) -> None:
    """Stop if the table and the function do not agree."""
    keys = zip(table["trial_a"], table["layer_a"], table["trial_b"], table["layer_b"], strict=True)
    ours = dict(zip(keys, table["value"], strict=True))
    for (one, other), value in zip(pairs, values, strict=True):
        if one != other and not math.isclose(ours[*one, *other], value, abs_tol=TOLERANCE):
            sys.exit(f"nnray and the function do not agree on {one} and {other}: {ours[*one, *other]}, {value}")


def _ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def _line(figures: dict[str, Any]) -> str:
    what = f"{figures['measure']:12} {figures['networks']:3} networks, {figures['layers']} layers, "
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in figures["seconds"].items())
    ratios = ", ".join(f"{name} {ratio['median']:.1f}" for name, ratio in figures["ratios"].items())
    return f"{what}{figures['images']} images, {figures['pairs']} pairs: {seconds}; {ratios}"


if __name__ == "__main__":
    main()
