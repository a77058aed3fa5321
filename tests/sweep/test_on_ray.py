"""A sweep on a Ray cluster that is there already: joined by its address, and used from within a process."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from commands import nnray

from nnray.cli.main import main

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={
        "model": "user_code.Tiny",
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "trainer": {"max_epochs": 2},
    },
    space={"seed": grid(range(3))},
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "study.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def _weights(store: Path) -> dict[str, bytes]:
    return {
        path.parents[1].name: path.read_bytes() for path in store.glob("trials/*/checkpoints/epoch=0001.safetensors")
    }


def test_joined_by_its_address(folder: Path, ray_session: str) -> None:
    status, output = nnray(
        folder, "sweep", "study.py", "--address", ray_session, "--max-concurrent", "1", RAY_AUTH_MODE="token"
    )
    assert status == 0, output
    trials = pd.read_parquet(folder / "nnray-store/tables/study/trials.parquet")
    assert trials["status"].tolist() == ["completed"] * 3
    # One at a time: no trial starts before the one before it has ended.
    assert (trials["started"].iloc[1:].reset_index(drop=True) >= trials["ended"].iloc[:-1]).all()


@pytest.mark.filterwarnings("default")  # Tune's own, in this very process
def test_used_from_within_a_process_and_left_running(folder: Path, ray_session: str) -> None:
    import ray

    assert main(["sweep", "study.py"]) == 0
    assert ray.is_initialized()
    assert main(["sweep", "study.py", "--in-process", "--store", "alone"]) == 0
    assert len(_weights(folder / "alone")) == 3
    assert _weights(folder / "nnray-store") == _weights(folder / "alone")


def test_a_cluster_that_is_not_there(folder: Path) -> None:
    status, output = nnray(folder, "sweep", "study.py", "--address", "127.0.0.1:9")
    assert status == 2
    assert "nnray: error: cannot join the Ray cluster at 127.0.0.1:9" in output
    assert "Traceback" not in output
    assert not (folder / "nnray-store").exists()


def test_more_than_there_is_is_refused(folder: Path, ray_session: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "study.py", "--resources", "cpu=3"]) == 2
    assert "resources: a trial asks for 3 cpu, but no node has more than 2" in capsys.readouterr().err
    assert not (folder / "nnray-store").exists()
