"""A sweep on a cluster of several nodes: whatever is lost in the middle, every trial ends as it would have alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import finish, nnray, start, wait_until

from nnray.store.metrics_log import read_rows

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={
        "model": "user_code.Tiny",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "trainer": {
            "max_epochs": 3,
            "callbacks": [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.7}}],
        },
    },
    space={"seed": grid(range(8))},
)
"""
OPEN = {"RAY_AUTH_MODE": "disabled"}
"""Nodes and commands must agree on whether there is a token; a fresh machine has none."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", OPEN["RAY_AUTH_MODE"])
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000})
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study.py").write_text(SPACE)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The final weights of every trial, trained one after another without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "study.py").write_text(SPACE.replace("0.7", "0.0"))
    status, output = nnray(folder, "sweep", "study.py", "--in-process")
    assert status == 0, output
    return _weights(folder)


def _weights(folder: Path) -> dict[str, bytes]:
    """Final weights by seed: the pace of a trial is a part of its signature, not of its weights."""
    found = {}
    for path in folder.glob("nnray-store/trials/*/checkpoints/epoch=0002.safetensors"):
        configuration = (path.parents[1] / "config.yaml").read_text()
        found[configuration.partition("seed: ")[2].partition("\n")[0]] = path.read_bytes()
    return found


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("nnray-store/trials/*/record.json")}


def _count(folder: Path, status: str) -> int:
    return sum(record["status"] == status for record in _records(folder).values())


def _assert_all_trained_once(folder: Path, finished_before: dict[str, dict[str, Any]], alone: dict[str, bytes]) -> None:
    records = _records(folder)
    assert [record["status"] for record in records.values()] == ["completed"] * 8
    for signature, record in records.items():
        rows = read_rows(folder / "nnray-store/trials" / signature / "metrics.jsonl")
        assert [row["epoch"] for row in rows] == [0, 1, 2]
        assert record["attempts"] <= 2
        if signature in finished_before:
            assert record == finished_before[signature]
    assert _weights(folder) == alone


def _completed(folder: Path) -> dict[str, dict[str, Any]]:
    return {signature: record for signature, record in _records(folder).items() if record["status"] == "completed"}


def test_a_node_is_killed_and_another_joins(cluster: Any, folder: Path, alone: dict[str, bytes]) -> None:
    process = start(folder, "sweep", "study.py", "--address", cluster.address, **OPEN)
    wait_until(
        lambda: process.poll() is not None or (_count(folder, "completed") >= 2 and _count(folder, "running") == 2)
    )
    finished = _completed(folder)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    status, output = finish(process)
    assert status == 0, output
    assert "8 of 8 trials complete" in output
    assert sorted(record["attempts"] for record in _records(folder).values()) == [1] * 7 + [2]
    _assert_all_trained_once(folder, finished, alone)


def test_the_command_is_killed_and_run_again(cluster: Any, folder: Path, alone: dict[str, bytes]) -> None:
    process = start(folder, "sweep", "study.py", "--address", cluster.address, **OPEN)
    wait_until(
        lambda: process.poll() is not None or (_count(folder, "completed") >= 2 and _count(folder, "running") == 2)
    )
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = _completed(folder)
    assert 2 <= len(finished) < 8
    status, output = nnray(folder, "sweep", "study.py", "--address", cluster.address, **OPEN)
    assert status == 0, output
    _assert_all_trained_once(folder, finished, alone)
