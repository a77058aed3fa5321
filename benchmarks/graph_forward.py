"""What a graph costs: `GraphModule` against the same network written by hand as an `nn.Module`.

Both networks have the same weights. Each round times one after the other, in alternating order, so that a slow moment
of the machine hits both; reported are the median times and the median of the rounds' ratios with its quartiles. Small
batches show the cost per operation, large ones what a user pays. On CPU, times are processor time of one thread, which
other processes disturb less than the clock's; on GPU they are the clock's, after synchronising.

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
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnray.models import ResNet, ResNet9

KEEP_MEMORY = {  # of mallopt(3); without effect where the C library is not glibc
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "100000000",
}


class HandBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.stride = channels // in_channels
        self.extra_channels = channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.conv2(x)
        x = self.bn2(x)
        if self.stride != 1:
            shortcut = F.pad(shortcut[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))
        x += shortcut
        return self.relu(x)


class HandStem(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class HandResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = HandStem(3, 16)
        self.stage1 = nn.Sequential(*(HandBlock(16, 16) for _ in range(3)))
        self.stage2 = nn.Sequential(HandBlock(16, 32), HandBlock(32, 32), HandBlock(32, 32))
        self.stage3 = nn.Sequential(HandBlock(32, 64), HandBlock(64, 64), HandBlock(64, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.linear(self.flatten(self.pool(x)))


class HandGroup(HandStem):
    def __init__(self, in_channels: int, channels: int, residual: bool) -> None:
        super().__init__(in_channels, channels)
        self.pool = nn.MaxPool2d(2)
        if residual:
            self.res1 = HandStem(channels, channels)
            self.res2 = HandStem(channels, channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(super().forward(x))
        return x + self.res2(self.res1(x)) if self.residual else x


class HandResNet9(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.prep = HandStem(3, width)
        self.layer1 = HandGroup(width, 2 * width, residual=True)
        self.layer2 = HandGroup(2 * width, 4 * width, residual=False)
        self.layer3 = HandGroup(4 * width, 8 * width, residual=True)
        self.pool = nn.MaxPool2d(4)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(8 * width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.prep(x))))
        return self.linear(self.flatten(self.pool(x))) * 0.125


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """Return the graph and the network by hand, with the same weights."""
    torch.manual_seed(0)
    graph: nn.Module
    hand: nn.Module
    if name == "ResNet-20":
        graph, hand = ResNet(depth=20), HandResNet20()
        renamed = {key.replace(".block", "."): value for key, value in graph.state_dict().items()}
    else:
        graph, hand = ResNet9(width=16), HandResNet9(width=16)
        renamed = graph.state_dict()
    hand.load_state_dict(renamed)
    return graph, hand


def forward(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def forward_backward(model: nn.Module, x: Tensor) -> None:
    model(x).square().mean().backward()
    model.zero_grad(set_to_none=True)


def seconds(call: Callable[[nn.Module, Tensor], None], model: nn.Module, x: Tensor, repeats: int) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    for _ in range(repeats):
        call(model, x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def compare(
    name: str, call: Callable[[nn.Module, Tensor], None], batch: int, device: str, budget: float
) -> dict[str, Any]:
    graph, hand = (model.to(device).train(call is forward_backward) for model in twins(name))
    x = torch.randn(batch, 3, 32, 32, device=device)
    with torch.no_grad():
        difference = (graph.eval()(x) - hand.eval()(x)).abs().max().item()
    graph.train(call is forward_backward)
    hand.train(call is forward_backward)
    for model in (graph, hand):
        seconds(call, model, x, 3)
    repeats = max(1, round(0.02 / seconds(call, hand, x, 3)))
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + budget
    while len(pairs) < 10 or (time.perf_counter() < end and len(pairs) < 2000):
        if len(pairs) % 2:
            by_hand = seconds(call, hand, x, repeats)
            by_graph = seconds(call, graph, x, repeats)
        else:
            by_graph = seconds(call, graph, x, repeats)
            by_hand = seconds(call, hand, x, repeats)
        pairs.append((by_graph, by_hand))
    ratios = sorted(by_graph / by_hand for by_graph, by_hand in pairs)
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return {
        "network": name,
        "pass": call.__name__,
        "device": device,
        "batch": batch,
        "graph_ms": 1e3 * statistics.median(by_graph for by_graph, _ in pairs),
        "hand_ms": 1e3 * statistics.median(by_hand for _, by_hand in pairs),
        "ratio": middle,
        "ratio_quartiles": [lower, upper],
        "rounds": len(pairs),
        "calls_per_round": repeats,
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time GraphModule against the same networks written by hand.")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison (default: %(default)s)")
    parser.add_argument(
        "--allocator", choices=["keep", "system"], default="keep", help="of CPU memory (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.allocator == "keep" and not KEEP_MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    torch.set_num_threads(1)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows = []
    print(f"{'network':10} {'pass':17} {'device':6} {'batch':>5} {'graph ms':>9} {'hand ms':>9}  ratio (quartiles)")
    for device in devices:
        for name in ("ResNet-20", "ResNet-9"):
            for call in (forward, forward_backward):
                for batch in (1, 32) if device == "cpu" else (1, 512):
                    row = compare(name, call, batch, device, options.seconds)
                    rows.append(row)
                    lower, upper = row["ratio_quartiles"]
                    times = f"{row['graph_ms']:9.3f} {row['hand_ms']:9.3f}"
                    ratio = f"{row['ratio']:.3f} ({lower:.3f} to {upper:.3f})"
                    print(f"{name:10} {row['pass']:17} {device:6} {batch:5} {times}  {ratio}", flush=True)
    if "cuda" not in devices:
        print("no CUDA device here: measured on CPU only")
    if options.json:
        report = {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
            "gpu": torch.cuda.get_device_name() if "cuda" in devices else None,
            "threads": 1,
            "allocator": options.allocator,
            "comparisons": rows,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
