"""``nnray gc`` as a person types it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from trial_folders import epoch_row, write_trial

from nnray.cli.main import main
from nnray.store.table_keeper import TableKeeper
from nnray.store.weights import kept_epochs
from nnray.trial.paths import StorePaths


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    store = StorePaths(tmp_path / "store")
    for position in range(2):
        paths = write_trial(
            store,
            position=position,
            rows=[epoch_row(epoch, 0.1 * epoch) for epoch in range(4)],
            checkpoints={epoch: {"w": torch.zeros(1000)} for epoch in range(4)},
        )
        paths.resume.write_bytes(b"x" * 5000)
    TableKeeper(store, "digits").update()
    return store


def gc(store: StorePaths, *words: str) -> int:
    return main(["gc", "--store", str(store.root), *words])


def files(store: StorePaths) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_a_dry_run_tells_and_removes_nothing(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(store)
    assert gc(store, "digits", "--keep-within", "20kB", "--dry-run", "--list") == 0
    assert files(store) == before
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.endswith(("resume.ckpt", ".safetensors"))]) == 2 + 4
    rows = {line.rsplit(maxsplit=3)[0].strip(): line.split()[-3:] for line in lines[6:-1]}
    assert rows["resume states of completed trials"] == ["2", "10", "kB"]
    assert rows["checkpoints over the budget"][0] == "4"
    assert rows["all"][0] == "6"
    assert lines[-1].startswith("checkpoints: 32.8 kB, and 16.4 kB afterwards")
    assert lines[-1].endswith(", within 20 kB")


def test_it_asks_before_it_removes(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(store)
    assert gc(store, "digits") == 2
    assert "this removes 2 files (10 kB); nothing is done without --yes" in capsys.readouterr().err
    assert files(store) == before


def test_what_goes_is_gone_from_the_tables(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert gc(store, "digits", "--keep-within", "5kB", "--yes") == 1
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith(", more than 5 kB: the rest are last, best, needed or of unfinished trials")
    )
    for folder in store.trials.iterdir():
        assert list(kept_epochs(store.trial(folder.name))) == [3]
        assert not store.trial(folder.name).resume.exists()
    assert pd.read_parquet(store.table("digits", "checkpoints"))["epoch"].tolist() == [3, 3]
    assert gc(store, "digits") == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_tables_that_a_killed_command_left_behind_are_brought_up_to_date(store: StorePaths) -> None:
    for folder in store.trials.iterdir():
        store.trial(folder.name).checkpoint(0).unlink()
        store.trial(folder.name).resume.unlink()
    assert gc(store, "digits", "--yes") == 0
    assert pd.read_parquet(store.table("digits", "checkpoints"))["epoch"].tolist() == [1, 2, 3] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digit"], "is listed in a sweep 'digit'; did you mean 'digits'?"),
        (["--keep-within", "20"], "'20' is no size: give a number and a unit, as in 20GB, 20GiB or 500MB"),
    ],
)
def test_mistakes(words: list[str], message: str, store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(store)
    try:
        status = gc(store, *words)
    except SystemExit as leaving:
        status = leaving.code  # type: ignore[assignment]
    assert status == 2
    assert message in capsys.readouterr().err
    assert files(store) == before


def test_without_a_sweep_the_whole_store_and_this_machine_are_looked_at(
    store: StorePaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "nnray-data-0-1"
    shared.mkdir()
    (shared / "content").write_bytes(bytes(7_000_000))
    monkeypatch.setattr("nnray.data.node_sharing._shared_folders", lambda: [shared])
    unused = store.code("0123456789abcdef")
    unused.mkdir(parents=True)
    os.utime(unused, (time.time() - 7200,) * 2)
    alone = write_trial(store, "gone", position=7, checkpoints={0: {"w": torch.zeros(10)}})
    alone.membership("gone").unlink()

    assert gc(store, "--unlisted", "--yes") == 0
    output = capsys.readouterr().out
    assert "checkpoints and states of trials that no sweep lists" in output
    assert re.search(r"data sets that commands shared on this machine +1 +7 MB", output), output
    assert not shared.exists()
    assert not unused.exists()
    assert kept_epochs(alone) == {}
    assert alone.record.exists()
    assert gc(store) == 0
    assert capsys.readouterr().out == "nothing to remove\n"
