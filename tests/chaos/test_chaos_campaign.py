"""Whatever goes wrong, a sweep that is run again ends as if nothing had."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import nnray

from nnray.chaos import FAULTS, Campaign, Episode, run_campaign
from nnray.chaos.faults import damage
from nnray.chaos.file_operations import Meddling, operations_of
from nnray.chaos.launcher import Launcher
from nnray.chaos.reader import reading
from nnray.cli.main import main
from nnray.errors import SpaceError
from nnray.store.files import path_of
from nnray.store.metrics_log import read_rows, write_rows
from nnray.store.record import Record

LOCAL = [name for name, fault in FAULTS.items() if not fault.on_ray and not fault.damages]


ONE_TRIAL = """
name: one
base:
  model: {class_path: nnray.models.MLP, init_args: {width: 8, depth: 1}}
  data:
    class_path: nnray.data.FakeData
    init_args: {size: 64, image_size: 4, batch_size: 16, in_channels: 1}
  trainer: {max_epochs: 2}
"""


def played(folder: Path, **options: object) -> list[Episode]:
    return list(run_campaign(Campaign(folder, **options), main))  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", LOCAL)
def test_a_fault_breaks_nothing(tmp_path: Path, fault: str) -> None:
    (episode,) = played(tmp_path, episodes=1, seed=1, faults=(fault,))
    assert (episode.fault, episode.broken) == (fault, ())
    assert episode.deeds
    assert episode.reads > 5
    assert list(tmp_path.iterdir()) == []


def test_damage_is_told_of_or_repaired(tmp_path: Path) -> None:
    episodes = played(tmp_path, episodes=4, seed=3002, faults=("truncate", "flip"))
    assert [episode.broken for episode in episodes] == [()] * 4
    assert list(tmp_path.iterdir()) == []


def test_damage_to_a_configuration_is_told_of_or_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "_PATTERNS", ("trials/*/config.yaml",))
    episodes = played(tmp_path, episodes=2, seed=1, faults=("flip",))  # of a study that was killed, and of a whole one
    assert [(episode.kills, episode.broken) for episode in episodes] == [(1, ()), (0, ())]


def loses_a_row(words: Sequence[str]) -> int:
    status = main(words)
    for path in Path(words[words.index("--store") + 1]).glob("trials/*/metrics.jsonl"):
        if "0000-runner" in str(path):
            rows = read_rows(path)[1:]
            write_rows(path, rows)  # with right checksums: else it is damage, which the sweep itself tells of
            record = Record.read(path.with_name("record.json"))
            assert record is not None
            dataclasses.replace(record, rows=len(rows)).write(path.with_name("record.json"))
    return status


def test_what_is_broken_is_told_and_kept(tmp_path: Path) -> None:
    (episode,) = run_campaign(Campaign(tmp_path, episodes=1, faults=("runner",)), loses_a_row)
    assert sum("rows of the epochs 1, 2, 3" in what for what in episode.broken) >= 1
    assert episode.folder is not None
    assert (episode.folder / "store" / "trials").is_dir()


def test_a_space_that_fails_by_itself_is_refused(tmp_path: Path) -> None:
    space = tmp_path / "bad.yaml"
    space.write_text("name: bad\nbase: {model: {class_path: nnray.models.MLP}, data: Nowhere}\n")
    with pytest.raises(SpaceError, match=r"bad\.yaml cannot be trained without any fault: .*Nowhere"):
        played(tmp_path / "place", episodes=1, space=space)


def test_a_misspelt_fault_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="there is no fault 'runer'; did you mean 'runner'"):
        Campaign(tmp_path, faults=("runer",))


def test_a_store_in_a_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    space = tmp_path / "one.yaml"
    space.write_text(ONE_TRIAL)
    (episode,) = played(path_of(bucket), episodes=1, seed=2, faults=("pause",), space=space)
    assert episode.broken == ()
    assert episode.reads > 5
    assert list(tmp_path.glob("nnray-chaos-*")) == []
    assert list(path_of(bucket).rglob("*")) == []


def test_a_fault_of_disks_is_refused_in_a_bucket(tmp_path: Path) -> None:
    status, output = nnray(tmp_path, "chaos", "--store", "s3://bucket/folder", "--faults", "runner,flip")
    assert status == 2
    assert output == (
        "nnray: error: flip is for a store in a folder; in an object store there are: "
        "runner, pause, bookkeeper, worker, driver, node\n"
    )


def test_the_command(tmp_path: Path) -> None:
    status, output = nnray(tmp_path, "chaos", "--store", ".", "--faults", "slow", "--episodes", "1", "--seed", "4")
    assert status == 0, output
    assert "slow" in output
    assert list(tmp_path.iterdir()) == []
    status, output = nnray(tmp_path, "chaos", "--faults", "rite")
    assert status == 2
    assert output.startswith("nnray: error: there is no fault 'rite'; did you mean 'write'")


def touches(words: Sequence[str]) -> int:
    for number in range(4):
        (Path(words[0]) / f"file{number}").write_bytes(b"x" * 100)
    return 0


def test_a_node_is_lost(tmp_path: Path) -> None:
    status, output = nnray(tmp_path, "chaos", "--store", ".", "--episodes", "1", "--seed", "7", "--faults", "node")
    assert status == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("deed", "amount", "status", "files"),
    [
        ("count", 0, 0, [100, 100, 100, 100]),
        ("kill", 0, -9, [100, 100]),
        ("tear", 40, -25, [100, 100, 40]),
        ("refuse", 1, 1, [100, 100]),
    ],
    ids=["count", "kill", "tear", "refuse"],
)
def test_an_operation_on_a_file_goes_wrong(
    tmp_path: Path, deed: str, amount: int, status: int, files: list[int]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    meddling = Meddling(folder, deed, at=2, amount=amount, journal=tmp_path / "journal")  # type: ignore[arg-type]
    command = Launcher(touches).start([str(folder)], tmp_path / "log", meddling)
    assert command.wait(60) == status, command.output
    assert [path.stat().st_size for path in sorted(folder.iterdir())] == files
    assert operations_of(tmp_path / "journal")[:2] == ["0 open file0", "1 open file1"]


def _write_table(path: Path, epochs: Sequence[int]) -> None:
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(".beside")
    pd.DataFrame({"trial": ["a"] * len(epochs), "epoch": epochs}).to_parquet(beside)
    beside.replace(path)


@pytest.mark.parametrize(
    ("second", "problem"),
    [([0, 1, 2, 3], None), ([0, 1], "1 rows have gone, such as ('a', 2)"), ([0, 1, 2, 2], "has rows twice")],
    ids=["grows", "loses", "doubles"],
)
def test_the_reader_notices(tmp_path: Path, second: list[int], problem: str | None) -> None:
    path = tmp_path / "study" / "metrics.parquet"
    _write_table(path, [0, 1, 2])
    with reading(Launcher(main).context, tmp_path) as findings:
        _wait_for_reads(tmp_path)
        _write_table(path, second)
    assert findings.reads >= 2
    assert (problem is None and not findings.problems) or problem in findings.problems[0]


def _wait_for_reads(folder: Path) -> None:
    import time

    time.sleep(3)  # the reader imports pandas first
