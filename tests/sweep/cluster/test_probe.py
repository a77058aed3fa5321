"""What is found out about a cluster before the first trial."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import nnray
from nodes import OPEN, StartedNode, free_port

from nnray.errors import StoreError
from nnray.store.format import StoreFormat, read_format, settle_format
from nnray.sweep.cluster.store_probe import check_store

SPACE = """
from nnray import Sweep
sweep = Sweep(name="study", base={"model": "user_code.Tiny", "data": "Digits", "trainer.max_epochs": 1})
"""
_UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
_CAN_HIDE = subprocess.run([*_UNSHARE, "true"], capture_output=True).returncode == 0 if os.name == "posix" else False


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of one node."""
    yield from _head(tmp_path_factory.mktemp("head"))


@pytest.fixture
def fresh_head(tmp_path: Path) -> Iterator[str]:
    """The address of another one, which does not wait for the answers of nodes that earlier tests have killed."""
    yield from _head(tmp_path)


def _head(folder: Path) -> Iterator[str]:
    port = free_port()
    node = StartedNode(["--head", f"--port={port}", "--num-cpus=1", "--node-ip-address=127.0.0.1"], folder / "log")
    yield f"127.0.0.1:{port}"
    node.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.py").write_text(SPACE)
    return tmp_path


@pytest.mark.skipif(not _CAN_HIDE, reason="folders cannot be hidden from a process here (unshare --mount)")
def test_a_node_that_does_not_see_the_store_is_named(
    head: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blind = tmp_path_factory.mktemp("blind")
    hide = (*_UNSHARE, "sh", "-c", f"mount -t tmpfs none '{folder}' && exec \"$@\"", "sh")
    node = StartedNode([f"--address={head}", "--num-cpus=1", "--node-ip-address=127.0.0.2"], blind / "log", hide)
    try:
        status, output = nnray(folder, "sweep", "study.py", "--address", head, **OPEN)
    finally:
        node.kill()
    assert status == 2, output
    assert output.splitlines()[-1] == (
        f"nnray: error: 1 of 2 nodes cannot use the store {folder}/nnray-store: {socket.gethostname()} (127.0.0.2): "
        "it sees no such folder, or another one; put the store on a file system that all nodes share"
    )
    assert "Traceback" not in output
    assert not (folder / "nnray-store").exists()


def test_locks_that_are_not_shared(fresh_head: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As where a node mounts NFS with ``local_lock``: a new store does without locks, one that has them is refused."""
    apart = tmp_path_factory.mktemp("apart")
    (apart / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda descriptor, kind: None\n")
    path = os.pathsep.join([str(apart), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    node = StartedNode(
        [f"--address={fresh_head}", "--num-cpus=1", "--node-ip-address=127.0.0.3"], apart / "log", PYTHONPATH=path
    )
    settle_format(folder / "old", "locks")
    (folder / "old" / "trials").mkdir()
    try:
        refused = nnray(folder, "sweep", "study.py", "--address", fresh_head, "--store", "old", **OPEN)
        status, output = nnray(folder, "sweep", "study.py", "--address", fresh_head, **OPEN)
    finally:
        node.kill()
    assert refused[0] == 2, refused[1]
    assert refused[1].splitlines()[-1] == (
        f"nnray: error: 1 of 2 nodes cannot use the store {folder}/old: {socket.gethostname()} (127.0.0.3): locks of "
        "other hosts are not seen there; mount it so that locks are shared, or take a new store, which will do without "
        "them"
    )
    assert sorted(path.name for path in (folder / "old").iterdir()) == ["store.json", "trials"]
    assert status == 0, output
    assert read_format(folder / "nnray-store") == StoreFormat(1, "leases")


def test_a_token_for_a_cluster_without_tokens(head: str, folder: Path) -> None:
    status, output = nnray(
        folder, "sweep", "study.py", "--address", head, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef" * 4
    )
    assert status == 2, output
    expected = f"cannot use the Ray cluster at {head}: RAY_AUTH_MODE=token is set here but not on its nodes"
    assert output.splitlines()[-1] == f"nnray: error: {expected}"
    assert not (folder / "nnray-store").exists()


def test_a_store_that_cannot_be_made_is_one_line(ray_session: str) -> None:
    with pytest.raises(StoreError, match="cannot write to the store /proc/store: No such file"):
        check_store(Path("/proc/store"))


def test_a_node_that_is_lost_before_it_answers_is_none(
    ray_session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    here = ray.nodes()
    lost = {**here[0], "NodeID": "ab" * (len(here[0]["NodeID"]) // 2)}
    seen = iter([[*here, lost]])  # Ray lists a node for some seconds after its death
    monkeypatch.setattr(ray, "nodes", lambda: next(seen, here))
    check_store(tmp_path / "store")
    assert (tmp_path / "store").is_dir()
