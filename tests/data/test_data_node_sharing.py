"""Data sets that processes of a node share: the same values, in memory once, gone when nobody is left."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nnray.data import InMemoryDataModule, LabelledImages, Splits, clear_cache, node_sharing

MEGABYTES = 40


class Large(InMemoryDataModule):
    """Images of a pattern; notes in a file each time that they are loaded."""

    in_channels, num_classes, image_size = 3, 10, 32
    mean, std = (0.5,), (0.25,)

    def __init__(self, notes: Path, megabytes: int = MEGABYTES) -> None:
        super().__init__()
        self.notes, self.megabytes = notes, megabytes

    def splits_key(self) -> tuple[int]:
        return (self.megabytes,)

    def load_splits(self) -> Splits:
        with self.notes.open("a") as notes:
            notes.write("loaded\n")
        count = self.megabytes * 1_000_000 // 3072
        images = torch.arange(count * 3072, dtype=torch.int64).mul_(2_654_435_761).bitwise_right_shift_(7)
        data = LabelledImages(images.to(torch.uint8).view(count, 3, 32, 32), torch.arange(count) % 10)
        part = LabelledImages(data.images[:100], data.labels[:100])
        return Splits(data, part, None, tuple("abcdefghij"))


def _private_bytes() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(1024 * int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))


def _hold(folder: Path, command: str, who: str, wait: bool) -> None:
    """Load the data set, say what it is and what it costs, and wait until the other one has done so too."""
    node_sharing.share_on_node(command)
    before = _private_bytes()
    splits = Large(folder / "notes").splits
    splits.train.images.sum()  # which touches every page
    (folder / f"{who}.fingerprint").write_text(splits.fingerprint)
    assert Splits(splits.train, splits.val, splits.test, splits.classes).fingerprint == splits.fingerprint
    (folder / f"{who}.ready").touch()
    deadline = time.monotonic() + 100
    while wait and len(list(folder.glob("*.ready"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (folder / f"{who}.bytes").write_text(str(_private_bytes() - before))
    (folder / f"{who}.measured").touch()
    while wait and len(list(folder.glob("*.measured"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _killed_while_it_holds(folder: Path) -> None:
    node_sharing.share_on_node(f"killed-{folder.name}")
    _ = Large(folder / "notes").splits
    os.kill(os.getpid(), signal.SIGKILL)


def _folders(command: str) -> list[Path]:
    return [path for root in ("/dev/shm", "/tmp") for path in Path(root).glob(f"nnray-data-*-{command}")]


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process shares, in a folder of the test's own."""
    monkeypatch.setattr(node_sharing, "_folder", None)
    monkeypatch.setattr(node_sharing, "_root", lambda: tmp_path)
    node_sharing.share_on_node("here")
    yield tmp_path / f"nnray-data-{os.getuid()}-here"
    clear_cache()


def test_two_processes_load_once_and_hold_the_pages_once(in_child: Callable[..., int], tmp_path: Path) -> None:
    command = f"test-{tmp_path.name}-{os.getpid()}"
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda who=who: codes.append(in_child(_hold, tmp_path, command, who, True)))  # type: ignore[misc]
        for who in ("first", "second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert (tmp_path / "notes").read_text() == "loaded\n"
    expected = Large(tmp_path / "unshared").load_splits().fingerprint
    for who in ("first", "second"):
        assert (tmp_path / f"{who}.fingerprint").read_text() == expected
        assert int((tmp_path / f"{who}.bytes").read_text()) < MEGABYTES * 1_000_000 / 4
    node_sharing.remove_unused()
    assert not _folders(command)


def test_what_a_killed_process_shared_is_removed(in_child: Callable[..., int], tmp_path: Path) -> None:
    assert in_child(_killed_while_it_holds, tmp_path) == -signal.SIGKILL
    assert _folders(f"killed-{tmp_path.name}")
    node_sharing.remove_unused()
    assert not _folders(f"killed-{tmp_path.name}")


def test_values_are_those_of_the_data_set(joined: Path, tmp_path: Path) -> None:
    shared, own = Large(tmp_path / "notes", 5).splits, Large(tmp_path / "notes", 5).load_splits()
    assert shared.classes == own.classes
    assert shared.test is None
    for ours, theirs in zip((*shared.train, *shared.val), (*own.train, *own.val), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    assert len(list(joined.glob(shared.fingerprint))) == 1


def test_small_data_sets_make_no_file(joined: Path, tmp_path: Path) -> None:
    assert len(Large(tmp_path / "notes", 1).splits.train.labels) == 325
    assert not [path for path in joined.iterdir() if path.suffix not in ("", ".lock") or len(path.name) == 64]


def test_a_writer_that_was_killed_is_no_hindrance(joined: Path, tmp_path: Path) -> None:
    own = Large(tmp_path / "notes", 5).load_splits()
    (joined / f"{own.fingerprint}.writing").write_bytes(b"half of it")
    assert torch.equal(Large(tmp_path / "notes", 5).splits.train.images, own.train.images)


def test_where_nothing_can_be_written_each_has_its_own(joined: Path, tmp_path: Path) -> None:
    (joined / "users").unlink()
    joined.rmdir()
    assert len(Large(tmp_path / "notes", 5).splits.train.labels) == 1627


def test_no_room_in_shared_memory_means_no_file(joined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 6_000_000})
    monkeypatch.setattr(node_sharing.shutil, "disk_usage", lambda path: usage)
    assert len(Large(tmp_path / "notes", 5).splits.train.labels) == 1627
    assert not list(joined.glob("?" * 64))
