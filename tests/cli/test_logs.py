"""``nnray logs``: what a trial printed, also while it goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from commands import start, wait_until
from trial_folders import write_trial

from nnray.cli.main import main
from nnray.store.claim import Claim
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths


@pytest.fixture
def trial(tmp_path: Path) -> TrialPaths:
    paths = write_trial(StorePaths(tmp_path / "store"))
    paths.log.write_text("first\nsecond\nthird")
    return paths


def store_of(paths: TrialPaths) -> str:
    return str(paths.folder.parents[1])


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ([], "first\nsecond\nthird"),
        (["--tail", "2"], "second\nthird"),
        (["-n", "99"], "first\nsecond\nthird"),
        (["-n", "0"], ""),
        (["-f"], "first\nsecond\nthird"),
    ],
    ids=" ".join,
)
def test_of_a_trial_that_has_ended(trial, capsys, options, printed):
    assert main(["logs", trial.signature[:5], *options, "--store", store_of(trial)]) == 0
    assert capsys.readouterr().out == printed


def test_by_name_and_without_a_log(trial, capsys):
    trial.log.unlink()
    assert main(["logs", "digits/seed=0", "--store", store_of(trial)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"nnray: {trial.signature} has printed nothing\n"


def test_followed_through_a_resumption_and_a_new_start(trial):
    record = Record.read(trial.record)
    assert record is not None
    dataclasses.replace(record, status="running").write(trial.record)
    claim = Claim.acquire(trial.claim)
    follower = start(trial.folder, "logs", trial.signature, "-f", "--store", store_of(trial))

    def wait_for(text: str) -> None:
        wait_until(lambda: follower.output.endswith(text))

    def say(text: str, mode: str = "a") -> None:
        with trial.log.open(mode) as file:
            file.write(text)

    wait_for("third")
    say("\nfourth: ä\n")
    wait_for("fourth: ä\n")
    claim.release()  # its runner dies, and another one goes on
    claim = Claim.acquire(trial.claim)
    say("resumed\n")
    wait_for("resumed\n")
    trial.log.unlink()  # it is trained anew
    say("anew\n", "w")
    wait_for("anew\n")
    say("cut\n", "w")
    wait_for("cut\n")
    say("last words\n")
    dataclasses.replace(record, status="failed", error="no").write(trial.record)
    claim.release()
    assert follower.wait(60) == 0
    wait_for("last words\n")


def test_a_trial_that_is_not_there_is_one_line(trial, capsys):
    assert main(["logs", "zz", "--store", store_of(trial)]) == 2
    assert capsys.readouterr().err.startswith("nnray: error: there is no trial 'zz' in ")
    assert main(["logs", trial.signature, "-n", "-1", "--store", store_of(trial)]) == 2
    assert capsys.readouterr().err == "nnray: error: --tail: -1 is not a number of lines\n"
