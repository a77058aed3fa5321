"""Every record leads back to the command, the code, the packages and the machine."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from nnray.cli.main import main
from nnray.store.record import Record

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={"model": "user_code.Tiny", "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 512}},
          "trainer": {"max_epochs": 1}},
    space={"seed": grid(range(SEEDS))},
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text("one = 1\n")
    for words in (["init"], ["add", "net.py"], ["-c", "user.name=n", "-c", "user.email=e@e", "commit", "-m", "First"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "study.py").write_text(SPACE.replace("SEEDS", "2"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def records(folder: Path) -> dict[str, Record]:
    return {
        path.parent.name: record
        for path in (folder / "nnray-store/trials").glob("*/record.json")
        if (record := Record.read(path)) is not None
    }


def test_records_lead_back_to_where_results_come_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "study.py", "--in-process", "--set", "source=token=hunter2"]) == 0
    assert main(["sweep", "study.py", "--in-process"]) == 0
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    first = records(folder)
    assert len(first) == 4
    for record in first.values():
        assert record.git_commit == commit
        assert record.git_diff is None
        assert record.host == socket.gethostname()
        assert record.device
        assert record.versions["torch"] == torch.__version__
        assert record.driver is None
    commands = {record.command for record in first.values()}
    assert commands == {
        "nnray sweep study.py --in-process --set source=token=***",
        "nnray sweep study.py --in-process",
    }
    store = folder / "nnray-store"
    (code,) = {record.code for record in first.values()}  # the store itself is no code
    assert code is not None
    assert (store / "code" / code / "untracked" / "study.py").read_text() == (folder / "study.py").read_text()
    (packages,) = {record.packages for record in first.values()}
    lines = (store / "packages" / f"{packages}.txt").read_text().splitlines()
    assert f"torch=={version('torch')}" in lines
    assert f"lightning=={version('lightning')}" in lines
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower())
    assert platform.python_version() == next(iter(first.values())).versions["python"]

    (folder / "net.py").write_text("one = 2\n")
    (folder / "study.py").write_text(SPACE.replace("SEEDS", "3"))
    capsys.readouterr()
    assert main(["sweep", "study.py", "--in-process"]) == 0
    assert "changed: net.py)" in capsys.readouterr().out  # told from the untracked space alone, it would be none
    (new,) = records(folder).keys() - first.keys()
    third = records(folder)[new]
    assert third.code not in (None, code)
    assert "+one = 2" in (store / "code" / str(third.code) / "changes.diff").read_text()

    assert main(["info", new, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "nnray sweep study.py --in-process"
    assert Path(told["code"], "changes.diff").is_file()
    assert Path(told["packages"]).is_file()


def test_a_dry_run_keeps_nothing(folder: Path) -> None:
    assert main(["sweep", "study.py", "--in-process", "--dry-run"]) == 0
    assert not (folder / "nnray-store").exists()


def test_records_of_before_are_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"signature": "00", "status": "completed", "git_commit": "c", "git_diff": "d"}')
    record = Record.read(path)
    assert record is not None
    assert (record.git_diff, record.code, record.command, record.packages) == ("d", None, None, None)
