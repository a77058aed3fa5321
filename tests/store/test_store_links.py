"""A link that leads out of a store is not followed: not to read, not to write, not to delete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trial_folders import write_trials
from trials import TINY, configured, folder_of, train

import nnray
from nnray.errors import StoreError
from nnray.store.bookkeeper import rebuild
from nnray.store.links import check_links
from nnray.sweep.planning.plan import forget
from nnray.trial.paths import StorePaths

OUT = "is a symbolic link out of the store"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def moved_out(place: Path, outside: Path) -> None:
    """Put a link in the place of a file or folder."""
    if place.exists():
        shutil.move(place, outside)
    else:
        outside.mkdir()
    place.symlink_to(outside)


@pytest.mark.parametrize("name", ["", "config.yaml", "record.json", "metrics.jsonl", "sweeps"])
def test_a_trial_that_leads_out_is_damaged_and_the_others_are_listed(tmp_path, name):
    store = write_trials(tmp_path / "store", 3)
    first = sorted(store.trials.iterdir())[0]
    moved_out(first / name if name else first, tmp_path / "outside")
    before = contents(tmp_path / "outside") if (tmp_path / "outside").is_dir() else {}
    report = rebuild(store, "digits")
    assert report.trials == 2
    assert OUT in report.damaged[first.name]
    with pytest.raises(StoreError, match=OUT):
        nnray.open(store.root).trial(first.name)
    if before:
        assert contents(tmp_path / "outside") == before


@pytest.mark.parametrize("name", ["", "checkpoints", "log.txt", "claim.lock", "resume.ckpt"])
def test_nothing_is_trained_into_a_link_or_deleted_through_one(store, tmp_path, name):
    paths = folder_of(store, configured())
    outside = tmp_path / "outside"
    if name in ("", "checkpoints"):
        moved_out(paths.folder / name if name else paths.folder, outside)
        (outside / "epoch=0000.safetensors").write_text("mine")
    else:
        outside.write_text("mine")
        (paths.folder / name).symlink_to(outside)
    with pytest.raises(StoreError, match=OUT):
        train(store.root, TINY)
    with pytest.raises(StoreError, match=OUT):
        forget(paths)
    kept = outside / "epoch=0000.safetensors" if outside.is_dir() else outside
    assert kept.read_text() == "mine"


def test_a_store_reached_through_a_link_and_links_inside_of_it_are_as_any(tmp_path):
    real = write_trials(tmp_path / "real", 2)
    (tmp_path / "link").symlink_to("real")
    store = StorePaths(tmp_path / "link")
    first, second = (store.trial(path.name) for path in sorted(real.trials.iterdir()))
    (first.folder / "beside.txt").symlink_to(second.record)
    assert check_links(first) == first
    assert rebuild(store, "digits").damaged == {}
    assert train(store.root, TINY) == "completed"
