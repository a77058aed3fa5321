"""An analysis of many checkpoints on actors: their memory, what a second actor gains, and one that is killed.

``networks.cka("block*", data=images, actors=...)`` on checkpoints of small convolutional networks with eight layers.
They are those of a few short trainings, and copies with a little noise on every weight, kept as later epochs.

memory    the most private memory that an actor has at once (``Private_*`` in ``/proc/PID/smaps_rollup``, looked at ten
          times a second), for each number of networks, on one actor; with ``--memory`` bytes for products
speed     the clock's and the actors' processor time on one actor and on two, each with one thread, from when a tenth of
          the networks are done, so that no start of processes counts, to the table on disk; and the share that the
          busier of the two had; ``--speed ROUNDS`` measures it alone, one actor and two in turn
killed    two actors, one of which gets SIGKILL when half of the networks are done: whether the table is the same

Linux only.

    python benchmarks/analysis_networks.py --json analysis_networks.json
    python benchmarks/analysis_networks.py --speed 2
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import analysis
from nnray.cli.main import main as nnray
from nnray.store.weights import load_weights, save_weights
from nnray.trial.paths import StorePaths

LIBRARIES = ("torch", "ray", "numpy", "safetensors")
LAYERS = "block*"
"""Eight: three convolutions, three rectifications and two poolings."""
PER_TRIAL = 20
"""Checkpoints of one trial."""
_SAMPLED_S = 0.1
"""Oftener would take from the actors a good part of the cores: the kernel walks all pages for an answer."""
_FOUND_S = 1.0
"""How often new actors are looked for."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--networks", default="25,50,100,200", help="numbers of networks (default: %(default)s)")
    parser.add_argument("--images", type=int, default=256, help="how many (default: %(default)s)")
    parser.add_argument("--side", type=int, default=32, help="pixels along a side of an image (default: %(default)s)")
    parser.add_argument("--memory", type=int, default=16_000_000, help="bytes for products (default: %(default)s)")
    parser.add_argument("--speed", type=int, metavar="ROUNDS", help="nothing but the speed, in so many rounds")
    options = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        parser.error("memory is read from /proc, which only Linux has")
    import ray

    images = torch.randn(options.images, 3, options.side, options.side, generator=torch.Generator().manual_seed(0))
    counts = sorted(int(word) for word in options.networks.split(","))
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        make_networks(store, counts[-1], options.side)
        networks = analysis.open(store, "networks", epochs="all")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
        try:
            job = Job(networks, images, options.memory)
            figures = only_speed(job, counts[-1], options.speed) if options.speed else everything(job, counts)
        finally:
            ray.shutdown()
    report = {
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "load_average": {"before": before, "after": os.getloadavg()[0]},
        **figures,
    }
    print(json.dumps({key: value for key, value in report.items() if key not in ("machine", "versions")}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def everything(job: Job, counts: list[int]) -> dict[str, Any]:
    """Return what memory each number of networks takes, what a second actor gains, and what comes of a killed one."""
    memory = []
    for count in counts:
        one = job.run(count, actors=1)
        memory.append({"networks": count, "peak_bytes": one["peak_bytes"], "seconds": one["seconds"]})
        print(f"{count} networks on one actor: {one['peak_bytes'] / 1e6:.0f} MB, {one['seconds']:.1f} s", flush=True)
    two = job.run(counts[-1], actors=2)
    killed = job.run(counts[-1], actors=2, kill=True)
    return {
        "memory": memory,
        "speed": speed(counts[-1], one, two),
        "killed": {
            "killed": killed["killed"],
            "same_table": killed["table"] == one["table"] == two["table"],
            "errors": killed["errors"],
        },
    }


def only_speed(job: Job, count: int, rounds: int) -> dict[str, Any]:
    """Return what a second actor gains in each round, and the median."""
    found = []
    for _ in range(rounds):
        found.append(speed(count, job.run(count, actors=1), job.run(count, actors=2)))
        print(f"two actors are {found[-1]['speedup']:.2f} times as fast as one", flush=True)
    return {"speedup": statistics.median(row["speedup"] for row in found), "rounds": found}


def speed(count: int, one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run with one actor and of one with two beside each other."""
    return {
        "networks": count,
        "seconds": {"one": one["seconds"], "two": two["seconds"]},
        "speedup": one["seconds"] / two["seconds"],
        "processor_seconds": {"one": one["processor_seconds"], "two": two["processor_seconds"]},
        "busier_share": max(two["processor_seconds"]) / sum(two["processor_seconds"]),
    }


def make_networks(store: Path, count: int, side: int) -> None:
    """Make so many checkpoints, or some more: the sweep ``networks`` of a store."""
    space = store.parent / "networks.json"
    sweep = {
        "name": "networks",
        "base": {
            "model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 16, "depth": 3}},
            "data": {"class_path": "nnray.data.FakeData", "init_args": {"size": 10, "image_size": side}},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001}},
            "trainer": {"max_epochs": 1},
        },
        "space": {"seed": list(range(-(-count // PER_TRIAL)))},
    }
    space.write_text(json.dumps(sweep), encoding="utf-8")
    with redirect_stdout(io.StringIO()) as said:
        status = nnray(["sweep", str(space), "--in-process", "--store", str(store)])
        generator = torch.Generator().manual_seed(0)
        for trial in StorePaths(store).trials.iterdir():
            paths = StorePaths(store).trial(trial.name)
            weights = load_weights(paths.checkpoint(0))
            for epoch in range(1, PER_TRIAL):
                noisy = {
                    name: value + 0.01 * torch.randn(value.shape, generator=generator)
                    for name, value in weights.items()
                }
                save_weights(paths.checkpoint(epoch), noisy)
        status = status or nnray(["rebuild", "--store", str(store)])
    if status:
        sys.exit(said.getvalue())


class Job:
    """CKA of all layers of the first networks, made anew each time."""

    def __init__(self, networks: analysis.Networks, images: torch.Tensor, memory: int) -> None:
        self._networks, self._images, self._memory = networks, images, memory

    def run(self, count: int, actors: int, kill: bool = False) -> dict[str, Any]:
        """Run it and return the figures, and the bytes of the table."""
        folder = self._networks.store / "analysis" / "job"
        watch = Watch(
            lambda: sum(1 for _ in (folder / "grams").glob("[!.]*")), count // 10, count // 2 if kill else None
        )
        with watch:
            result = self._networks[:count].cka(
                LAYERS, data=self._images, name="job", actors=analysis.Actors(actors), memory=self._memory
            )
        ended = time.monotonic()
        table = (folder / "result.parquet").read_bytes()
        shutil.rmtree(folder)
        return {
            "seconds": ended - (watch.begun or ended),
            "peak_bytes": max(watch.peaks.values()),
            "processor_seconds": sorted(used - watch.before[actor] for actor, used in watch.processor.items()),
            "killed": watch.killed is not None,
            "errors": len(result.errors),
            "table": table,
        }


class Watch:
    """Looks at the actors below this process, from a thread of its own.

    Args:
        done: Tells how many networks are done.
        begin: The clock starts when so many are.
        kill: The first actor is killed when so many are; None for never.

    Attributes:
        begun: When the clock started.
        peaks: The most private bytes of each actor.
        before: Processor time of each actor when the clock started, or of a later one when it was first seen.
        processor: Processor time of each actor when it was last seen.
        killed: The actor that was killed.
    """

    def __init__(self, done: Callable[[], int], begin: int, kill: int | None) -> None:
        self.begun: float | None = None
        self.peaks: dict[int, int] = {}
        self.before: dict[int, float] = {}
        self.processor: dict[int, float] = {}
        self.killed: int | None = None
        self._done, self._begin, self._kill, self._end = done, begin, kill, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        actors: list[int] = []
        looked = float("-inf")
        while not self._end.wait(_SAMPLED_S):
            if time.monotonic() - looked > _FOUND_S:
                actors, looked = _actors(), time.monotonic()
            done = self._done()
            if self.begun is None and done >= self._begin:
                self.begun = time.monotonic()
            for actor in actors:
                try:
                    private, used = _private_bytes(actor), _processor_seconds(actor)
                except (OSError, ValueError):  # it has just ended
                    continue
                self.peaks[actor] = max(private, self.peaks.get(actor, 0))
                self.processor[actor] = used
                if self.begun is None:
                    self.before[actor] = used
                self.before.setdefault(actor, used)
            if self._kill is not None and self.killed is None and done >= self._kill and (actors := _actors()):
                self.killed = actors[0]
                os.kill(self.killed, signal.SIGKILL)


def _actors() -> list[int]:
    """Return the process ids of the workers of analyses that this process has started by way of Ray."""
    parents, named = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                    named.append(int(entry.name))
            except (OSError, ValueError):  # it has just ended
                continue
    found = []
    for actor in named:
        above: int | None = actor
        while above is not None and above != os.getpid():
            above = parents.get(above)
        if above is not None:
            found.append(actor)
    return sorted(found)


def _private_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


if __name__ == "__main__":
    main()
