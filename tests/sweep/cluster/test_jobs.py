"""A sweep handed to a cluster's job server goes on there, and is followed from here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import nnray
from nodes import OPEN, StartedNode, free_port

ROOT = Path(__file__).parents[3]
SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base="base/tiny.yaml",
    space={"seed": grid(range(2))},
)
"""
BASE = """
model: nnray_test_travels.Net
data: {class_path: nnray.data.Digits, init_args: {batch_size: 256}}
trainer: {max_epochs: 1}
"""
MODULE = """
from user_code import Tiny

class Net(Tiny):
    def __init__(self, width: int = 4, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(width, in_channels, num_classes)
        print("hello from", __file__)
"""
COMMAND = f"#!{sys.executable}\nimport sys\nfrom nnray.cli.main import main\nsys.exit(main())\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A job server's address, and the store that its nodes have by default."""
    pytest.importorskip("opencensus", reason="the job server needs ray[default]")
    folder = tmp_path_factory.mktemp("server")
    program = folder / "bin/nnray"
    program.parent.mkdir()
    program.write_text(COMMAND)
    program.chmod(0o755)
    ports = {name: free_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")}
    node = StartedNode(
        ["--head", "--num-cpus=1", *(f"--{name}={port}" for name, port in ports.items())],
        folder / "log",
        dashboard=True,
        NNRAY_STORE=str(folder / "store"),
        PATH=f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    )
    yield f"http://127.0.0.1:{ports['dashboard-port']}", folder / "store"
    node.kill()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space, its base, a module and some data; not one that the cluster's nodes look into."""
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    folder = tmp_path / "study"
    (folder / "base").mkdir(parents=True)
    (folder / "study.py").write_text(SPACE)
    (folder / "base/tiny.yaml").write_text(BASE)
    (folder / "nnray_test_travels.py").write_text(MODULE)
    (folder / "data").mkdir()
    (folder / "data/images.bin").write_bytes(b"0" * (2 << 20))
    return folder


def test_a_sweep_is_submitted_and_followed(server: tuple[str, Path], study: Path) -> None:
    address, store = server
    git = ["git", "-C", str(study), "-c", "user.name=me", "-c", "user.email=me@localhost"]
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "study"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    status, output = nnray(study, "sweep", "study.py", "--address", address, **OPEN)
    assert status == 0, output
    job = output.partition(" as the job ")[2].partition(";")[0]
    assert f"nnray logs {job} -f --address {address}" in output

    status, output = nnray(study, "logs", job, "-f", "--address", address, **OPEN)
    assert status == 0, output
    assert "study: 2 trials: 0 complete, 0 to resume, 2 to run" in output.splitlines()
    assert "2 of 2 trials complete" in output
    records = [json.loads(path.read_text()) for path in store.glob("trials/*/record.json")]
    assert [record["status"] for record in records] == ["completed"] * 2
    assert [record["git_commit"] for record in records] == [commit] * 2
    logs = [path.read_text() for path in store.glob("trials/*/log.txt")]
    assert all("hello from" in log for log in logs)
    assert not any(f"hello from {study}" in log for log in logs)
    assert not (study / "nnray-store").exists()

    status, output = nnray(study, "status", "study", "--format", "json", "--address", address, **OPEN)
    assert status == 0, output
    assert output.count("completed") >= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--store", "here"], "--store here: the store is on the cluster, give its folder there from the root on"),
        (["--set", "seed"], "seed"),
        (["--address", "http://127.0.0.1:9"], "the job server at http://127.0.0.1:9: Failed to connect to Ray"),
    ],
    ids=["a store of this machine", "a mistake in the command", "nobody there"],
)
def test_mistakes_are_told_before_anything_is_submitted(study: Path, words: list[str], message: str) -> None:
    status, output = nnray(study, "sweep", "study.py", "--address", "http://127.0.0.1:9", *words, **OPEN)
    assert status == 2, output
    assert output.startswith("nnray: error: ")
    assert message in output
    assert len(output.splitlines()) == 1


def test_what_lies_outside_the_folder_does_not_travel(study: Path) -> None:
    status, output = nnray(study / "base", "sweep", "../study.py", "--address", "http://127.0.0.1:9", **OPEN)
    assert status == 2
    assert output == (
        "nnray: error: ../study.py is not in the current folder, which travels to the cluster: start in one that holds "
        "it\n"
    )


def test_an_address_to_join_is_no_job_server(study: Path) -> None:
    status, output = nnray(study, "status", "--address", "10.0.0.1:6379", **OPEN)
    assert (status, output) == (
        2,
        "nnray: error: --address 10.0.0.1:6379 is not a job server, such as http://127.0.0.1:8265\n",
    )
