"""The Ray that nnray starts on one machine can be reached from that machine alone: told by the kernel's tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ENVIRONMENT, finish, start, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an address of IPv6, and ::1, as the kernel writes them."""
LISTENING = "0A"

STARTERS = {
    "analysis": "from analysis.pool import _ray as there",
    "chaos": "from nnray.chaos.cluster import cluster_at as there",
}
PROGRAM = """
import sys
STARTER
with there(None):
    print("up", flush=True)
    sys.stdin.readline()
"""
SPACE = """
from nnray import Sweep
sweep = Sweep(
    name="study",
    base={
        "model": "user_code.Tiny",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "trainer": {
            "max_epochs": 200,
            "accelerator": "cpu",
            "callbacks": [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.5}}],
        },
    },
    resources={"workers": 2},
)
"""


def _started_by(pid: int) -> Iterator[int]:
    """Yield a process and all that it, and those, have started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    while found:
        yield (one := found.pop())
        found += children.get(one, [])


def _sockets(pid: int) -> set[str]:
    """Return the sockets of a process, as the tables of the network name them."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def _exposed(pid: int) -> tuple[int, list[str]]:
    """Return how many sockets a process and its offspring listen on, and those that other machines reach."""
    addresses = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING:
                addresses[words[9]] = words[1].partition(":")[0]
    count, exposed = 0, []
    for one in _started_by(pid):
        try:
            name = Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ")[:80]
            found = [addresses[socket] for socket in _sockets(one) if socket in addresses]
        except (FileNotFoundError, ProcessLookupError):
            continue
        count += len(found)
        exposed += [f"{name} at {address}" for address in found if address not in LOOPBACK]
    return count, exposed


@pytest.mark.parametrize("starter", STARTERS)
def test_ray_is_not_exposed(starter: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("STARTER", STARTERS[starter])],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("up\n", ""):
            pass
        count, exposed = _exposed(process.pid)
    assert count >= 4
    assert exposed == []


def test_a_sweep_is_not_exposed_but_for_where_two_workers_meet(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SPACE)
    process = start(tmp_path, "sweep", "study.py")
    try:
        wait_until(lambda: any((tmp_path / "nnray-store").glob("trials/*/metrics.jsonl")))
        count, exposed = _exposed(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        finish(process)
    assert count >= 6
    # Documented: PyTorch's store, where the two meet, takes no address to listen on.
    assert [name.split()[0] for name in exposed] == ["ray::RayTrainWorker"]
