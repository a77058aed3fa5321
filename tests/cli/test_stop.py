"""Two commands at once: one trains, and the other stops it, one of its trials, or takes trials from it."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until

from nnray.cli.main import main
from nnray.counting import counted
from nnray.store.commands import running_commands
from nnray.store.metrics_log import read_rows
from nnray.trial import StorePaths, TrialPaths

SPACE = """
from nnray import Sweep
sweep = Sweep(
    name="study",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer.callbacks": [{{"class_path": "user_code.SlowBatches", "init_args": {{"seconds": 0.1}}}}],
    }},
    trials=[{{"seed": seed, "trainer.max_epochs": 1000 if seed < 5 else 1}} for seed in {seeds}],
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def write_space(folder: Path, seeds: str) -> None:
    """Write a space whose trials never end by themselves, those with a seed from 5 on apart."""
    (folder / "study.py").write_text(SPACE.format(seeds=seeds))


def trial_of(folder: Path, seed: int) -> TrialPaths:
    for path in (folder / "nnray-store/trials").glob("*/config.yaml"):
        if re.search(rf"^seed: {seed}$", path.read_text(), re.MULTILINE):
            return TrialPaths(path.parent)
    raise AssertionError(f"no trial has the seed {seed}")


def record(paths: TrialPaths) -> dict:
    return json.loads(paths.record.read_text()) if paths.record.exists() else {"status": "pending", "attempts": 0}


def wait_for_start(folder: Path, seed: int = 0) -> TrialPaths:
    wait_until(lambda: any((folder / "nnray-store/trials").glob("*/record.json")))
    paths = trial_of(folder, seed)
    wait_until(lambda: record(paths)["status"] == "running")
    return paths


def statuses(folder: Path) -> dict[int, str]:
    trials = pd.read_parquet(folder / "nnray-store/tables/study/trials.parquet")
    return dict(zip(trials["config/seed"], trials["status"], strict=True))


def test_a_sweep_on_ray_is_stopped_as_on_ctrl_c(folder: Path) -> None:
    write_space(folder, "range(3)")
    process = start(folder, "sweep", "study.py")
    first = wait_for_start(folder)
    status, output = nnray(folder, "stop", "study")
    assert status == 0, output
    assert running_commands(StorePaths(folder / "nnray-store")) == [], "it should have waited"
    assert re.search(r"^study: the command on .*, process \d+ has stopped$", output, re.MULTILINE), output
    status, output = finish(process)
    assert status == 130
    assert re.search(r"^interrupted by \S+@\S+, with nnray stop: nnray sweep study.py goes on", output, re.MULTILINE)
    assert "completed" not in statuses(folder).values()
    assert record(first)["status"] == "pending"
    assert not list((folder / "nnray-store/commands").iterdir())


def test_a_trial_is_stopped_and_the_rest_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_space(folder, "range(2)")
    process = start(folder, "sweep", "study.py", "--in-process")
    first = wait_for_start(folder)
    assert main(["stop", first.signature[:8]]) == 0
    assert (
        f"{first.signature}: stopped after {counted(len(read_rows(first.metrics)), 'epochs')}; results are kept in"
        in capsys.readouterr().out
    )
    second = wait_for_start(folder, seed=1)
    assert main(["stop", second.signature, "--resumable"]) == 0
    assert f"{second.signature}: interrupted; the next command that wants it" in capsys.readouterr().out
    status, output = finish(process)
    assert status == 1
    assert "1 of 2 trials complete" in output
    assert "interrupted on request: 1 trial; nnray sweep study.py goes on" in output
    assert statuses(folder) == {0: "stopped", 1: "pending"}


@pytest.mark.parametrize("options", [("--in-process",), ("--max-concurrent", "1")], ids=["in process", "on Ray"])
def test_trials_that_leave_the_space_leave_the_other_command(
    folder: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(folder, "[0, 1, 5]")
    process = start(folder, "sweep", "study.py", *options)
    running = wait_for_start(folder)
    write_space(folder, "[5]")
    before = sorted(path for path in (folder / "nnray-store/trials").rglob("*.json"))

    assert main(["sweep", "study.py", "--in-process"]) == 2
    said = capsys.readouterr()
    assert "study: 1 trial: 0 complete, 0 to resume, 1 to run, 1 to stop" in said.out
    assert "nnray: error: this takes 2 trials from another command, 1 of them running; nothing is done" in said.err
    assert sorted(path for path in (folder / "nnray-store/trials").rglob("*.json")) == before

    assert main(["sweep", "study.py", "--in-process", "--yes"]) == 0
    assert "1 of 1 trials complete" in capsys.readouterr().out
    status, output = finish(process)
    assert status == 0, output
    assert "1 of 1 trials complete" in output
    assert "no longer listed: 2 trials; another command has given study another space meanwhile" in output
    assert statuses(folder) == {5: "completed"}
    assert record(running)["status"] == "pending"
    assert record(trial_of(folder, 1))["attempts"] == 0
    assert record(trial_of(folder, 5))["attempts"] == 1


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes standard input a terminal, and types lines into it."""
    leader, follower = pty.openpty()
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield lambda line: os.write(leader, f"{line}\n".encode()) and None
    os.close(leader)


def test_results_are_thrown_away_only_when_that_is_confirmed(
    folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    write_space(folder, "[5]")
    assert main(["sweep", "study.py", "--in-process"]) == 0
    path = trial_of(folder, 5).record
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_fingerprint": "another"}))
    before = path.read_bytes()
    assert main(["sweep", "study.py", "--in-process", "--code-changed", "retrain"]) == 2
    assert "throws the results of 1 finished trial away to train anew; nothing is done without --yes" in (
        capsys.readouterr().err
    )
    request.getfixturevalue("keyboard")("n")
    assert main(["sweep", "study.py", "--in-process", "--code-changed", "retrain"]) == 2
    assert path.read_bytes() == before
    assert "nnray: error: not confirmed; nothing was done" in capsys.readouterr().err
    request.getfixturevalue("keyboard")("y")
    assert main(["sweep", "study.py", "--in-process", "--code-changed", "retrain"]) == 0
    assert path.read_bytes() != before


def test_names_that_are_nobodys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_space(folder, "[5]")
    assert main(["stop", "study"]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert main(["sweep", "study.py", "--in-process"]) == 0
    signature = trial_of(folder, 5).signature
    capsys.readouterr()
    assert main(["stop", "study", "studdy"]) == 2
    assert f"there is no sweep 'studdy' in {folder}/nnray-store; did you mean 'study'?" in capsys.readouterr().err
    other = ("0" if signature[0] != "0" else "1") + signature[1:]
    assert main(["stop", other]) == 2
    assert (
        f"there is no trial '{other}' in {folder}/nnray-store; did you mean '{signature}'?" in capsys.readouterr().err
    )
    assert main(["stop", "study", signature]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "study: no command is training it",
        f"{signature}: is not running (completed)",
    ]
    assert not list(Path("nnray-store").rglob("stop*"))
