"""What a graph costs: `GraphModule` against networks written by hand, hooks and torchvision's feature extractor.

forward     `model(x)` of ResNet-20, ResNet-18 (torchvision's is the one by hand) and ViT-tiny, as a graph and by hand,
            with the same weights: forward with a batch of one, which shows the cost per operation, and with a larger
            one, which shows what a user pays, there with backward too
compiled    the forward passes under `torch.compile`; the time that compiling takes is not counted
extraction  the values of one early layer, of all layers of a block, and of every layer of ResNet-18: by a traced
            graph, by hooks that clone, by torchvision's `create_feature_extractor`, and for the early layer by code
            that is cut by hand; against a forward pass that keeps nothing. Time, peak memory, and which values are
            not those of the hooks that clone
memory      like extraction, but without time

Sides take turns within each round, and each round starts with the next one. Reported are median times, and the median
of the rounds' ratios with its quartiles. On CPU, times are processor time of one thread; on GPU they are the clock's,
after synchronising. Peak memory is what was allocated at once beyond weights and input, without gradients and with what
is kept for them.

With its usual settings glibc returns large tensors to the system when they are freed, and takes a third of a forward
pass to get them back page by page, more or less of it depending on what was allocated before. That is as large as what
is measured here, and has nothing to do with it, so the script starts itself again with an allocator that keeps its
memory, unless `--allocator system` is given.

    python benchmarks/graph_forward.py --json graph_forward.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from forward import against_hand, extraction
from forward.timing import Effort

KEEP_MEMORY = {  # of mallopt(3); without effect where the C library is not glibc
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "100000000",
}
PARTS = ("forward", "compiled", "extraction", "memory")
NETWORKS = tuple(against_hand.NETWORKS)
LIBRARIES = ("torch", "torchvision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file")
    parser.add_argument("--parts", default="forward,compiled,extraction", help="what to measure (default: %(default)s)")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="for the first two parts (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=224, help="of images to extract from (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each comparison (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=8, help="at least as many (default: %(default)s)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: %(default)s)")
    parser.add_argument(
        "--allocator", choices=["keep", "system"], default="keep", help="of CPU memory (default: %(default)s)"
    )
    options = parser.parse_args()
    parts, networks = options.parts.split(","), options.networks.split(",")
    for option, given, known in (("--parts", parts, PARTS), ("--networks", networks, NETWORKS)):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"{option}: {unknown[0]!r} is not one of {', '.join(known)}")
    if options.rounds < 2:
        parser.error("--rounds: quartiles take at least 2")
    if options.allocator == "keep" and not KEEP_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    torch.set_num_threads(1)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's remarks are no part of the figures
    effort = Effort(options.seconds, options.rounds)

    loads = [os.getloadavg()[0]]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    figures: dict[str, list[dict[str, Any]]] = {"comparisons": [], "extraction": []}
    for device in devices:
        for backend in [None] * ("forward" in parts) + [options.backend] * ("compiled" in parts):
            for network in networks:
                for row in against_hand.measure(network, device, backend, effort):
                    figures["comparisons"].append(row)
                    loads.append(os.getloadavg()[0])
                    print(_forward_line(row), flush=True)
        if "extraction" in parts or "memory" in parts:
            for row in extraction.measure(device, options.pixels, effort if "extraction" in parts else None):
                figures["extraction"].append(row)
                loads.append(os.getloadavg()[0])
                print(_extraction_line(row), flush=True)
    if "cuda" not in devices:
        print("no CUDA device here: measured on CPU only")
    print(f"load average {loads[0]:.1f} before, at most {max(loads):.1f}")
    if options.json:
        report = {
            "machine": {
                "processor": _processor(),
                "cores": os.cpu_count(),
                "system": platform.platform(),
                "gpu": torch.cuda.get_device_name() if "cuda" in devices else None,
            },
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
            "load_average": {"before": loads[0], "highest": max(loads)},
            "threads": 1,
            "allocator": options.allocator,
            **figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _forward_line(row: dict[str, Any]) -> str:
    lower, upper = row["ratio_quartiles"]
    what = f"{row['pass']}{', compiled' if row['compiled'] else ''}"
    times = f"graph {row['graph_ms']:8.3f} ms, by hand {row['hand_ms']:8.3f} ms"
    ratio = f"ratio {row['ratio']:.3f} ({lower:.3f} to {upper:.3f})"
    return f"{row['network']:9}  {what:17}  {row['device']:4}  batch {row['batch']:<3}  {times}  {ratio}"


def _extraction_line(row: dict[str, Any]) -> str:
    line = f"{row['request']:15}  {row['way']:17}  {row['device']:4}  batch {row['batch']:<3}"
    line += f"  peak {row['peak_bytes'] / 2**20:6.1f} MiB, for gradients {row['peak_bytes_with_grad'] / 2**20:6.1f} MiB"
    if "ratio" in row:
        lower, upper = row["ratio_quartiles"]
        line += f"  {row['ms']:8.2f} ms  ratio {row['ratio']:.3f} ({lower:.3f} to {upper:.3f})"
    if row["wrong_values"]:
        line += f"  {len(row['wrong_values'])} of {row['layers']} values wrong"
    return line


def _processor() -> str:
    """Name the processor, which `platform` does not everywhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
