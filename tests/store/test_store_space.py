"""What a store has no need of any more: which files go, in which order, and which never do."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from trial_folders import START, epoch_row, write_trial

from nnray.store.claim import Claim
from nnray.store.record import Record
from nnray.store.space import (
    Budget,
    Removal,
    note_references,
    referenced,
    remove_all,
    waste_of_store,
    waste_of_trial,
)
from nnray.store.weights import kept_epochs
from nnray.trial.paths import StorePaths, TrialPaths

ACCURACY = [0.1, 0.9, 0.5, 0.6, 0.7]
"""By epoch; the best is neither the first nor the last."""


def trained(store: StorePaths, position: int, ended: int = 0, sweep: str = "digits", **more: Any) -> TrialPaths:
    paths = write_trial(
        store,
        sweep,
        position=position,
        rows=[epoch_row(epoch, accuracy) for epoch, accuracy in enumerate(ACCURACY)],
        checkpoints={epoch: {"w": torch.zeros(100)} for epoch in range(5)},
        **{"ended": START + timedelta(seconds=ended), **more},
    )
    paths.resume.write_bytes(b"state")
    return paths


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return StorePaths(tmp_path / "store")


def going(store: StorePaths, limit: int, *folders: TrialPaths, sweeps: set[str] | None = None) -> list[tuple[str, int]]:
    excess = Budget(limit, sweeps).excess(folders, referenced(store))
    return [(removal.path.parent.parent.name, int(removal.path.stem[6:])) for removal in excess.removals]


def test_of_the_trial_that_ended_first_the_earliest_epochs_go_first_and_never_the_last_or_the_best(
    store: StorePaths,
) -> None:
    late, early = trained(store, 0, ended=9), trained(store, 1, ended=1)
    expected = [(paths.signature, epoch) for paths in (early, late) for epoch in (0, 2, 3)]
    assert going(store, 0, late, early) == expected
    size = early.checkpoint(0).stat().st_size
    assert going(store, 10 * size, late, early) == []
    assert going(store, 10 * size - 1, late, early) == expected[:1]
    assert going(store, 6 * size, late, early) == expected[:4]
    excess = Budget(3 * size).excess([late, early], ())
    assert (excess.total, excess.left, excess.is_over) == (10 * size, 4 * size, True)


@pytest.mark.parametrize("status", ["running", "pending", "failed"])
def test_a_trial_that_is_not_finished_keeps_all_and_counts(status: str, store: StorePaths) -> None:
    paths = trained(store, 0, status=status)
    excess = Budget(0).excess([paths], ())
    assert excess.removals == ()
    assert excess.total == 5 * paths.checkpoint(0).stat().st_size


def test_a_trial_that_another_sweep_lists_keeps_all(store: StorePaths) -> None:
    paths = trained(store, 0)
    write_trial(store, "other", position=0)
    assert going(store, 0, paths, sweeps={"digits"}) == []
    assert len(going(store, 0, paths, sweeps={"digits", "other"})) == 3
    assert len(going(store, 0, paths)) == 3


def test_the_best_by_each_sweeps_metric_stays(store: StorePaths) -> None:
    paths = trained(store, 0)
    trained(store, 0, sweep="other", metric="val_acc", mode="min")
    assert going(store, 0, paths) == [(paths.signature, 2), (paths.signature, 3)]  # 0 is best there, 1 here


def test_what_an_analysis_was_made_of_stays(store: StorePaths) -> None:
    paths = trained(store, 0)
    folder = store.analysis / "cka-1234"
    folder.mkdir(parents=True)
    note_references(folder, [(paths.signature, 2)])
    note_references(folder, [(paths.signature, 3)])
    old = store.analysis / "of an earlier version" / "grams"
    old.mkdir(parents=True)
    (old / f"{paths.signature}-epoch=0000--{paths.signature}-epoch=0001.safetensors").touch()
    assert referenced(store) == {(paths.signature, epoch) for epoch in (0, 1, 2, 3)}
    assert going(store, 0, paths) == []


def test_a_trial_that_somebody_trains_meanwhile_keeps_everything(store: StorePaths) -> None:
    first, second = trained(store, 0, ended=1), trained(store, 1, ended=2)
    removals = Budget(0).excess([first, second], ()).removals
    with Claim.acquire(first.claim) or pytest.fail("claimed"):
        removed = remove_all(removals)
    assert {removal.trial for removal in removed} == {second}
    assert list(kept_epochs(first)) == [0, 1, 2, 3, 4]
    assert list(kept_epochs(second)) == [1, 4]
    assert len(remove_all(removals)) == 3  # those of the first; what is gone does not count again


def test_a_budget_reads_a_finished_trial_once_and_forgets_what_went(store: StorePaths) -> None:
    paths, budget = trained(store, 0), Budget(0)
    removed = remove_all(budget.excess([paths], ()).removals)
    budget.forget(removed)
    assert budget.excess([paths], ()).removals == ()
    assert len(removed) == 3


def waste(paths: TrialPaths, unlisted: bool = False) -> set[str]:
    found = waste_of_trial(paths, Record.read(paths.record), time.time(), referenced(paths.store), unlisted)
    return {removal.path.relative_to(paths.folder).as_posix() for removal in found}


def test_resume_states_of_completed_trials_go_unless_they_are_wanted(store: StorePaths) -> None:
    assert waste(trained(store, 0)) == {"resume.ckpt"}
    assert waste(trained(store, 1, config={"checkpoint": {"keep_state": True}})) == set()
    assert waste(trained(store, 2, status="stopped")) == set()
    assert waste(trained(store, 3, status="failed")) == set()


def test_leftovers_go_when_they_are_old(store: StorePaths) -> None:
    paths = trained(store, 0, status="pending")
    for leftover in (paths.folder / ".a.part", paths.checkpoints / ".b.part", paths.memberships / ".c.part"):
        leftover.touch()
        assert waste(paths) == set()
        os.utime(leftover, (time.time() - 100,) * 2)
        assert waste(paths) == {leftover.relative_to(paths.folder).as_posix()}
        leftover.unlink()


def test_of_trials_that_no_sweep_lists_weights_go_on_request(store: StorePaths) -> None:
    paths = trained(store, 0, status="failed")
    assert waste(paths, unlisted=True) == set()
    paths.membership("digits").unlink()
    note = store.analysis / "mine"
    note.mkdir(parents=True)
    note_references(note, [(paths.signature, 4)])
    assert waste(paths) == set()
    weights = {f"checkpoints/epoch=000{epoch}.safetensors" for epoch in range(4)}
    assert waste(paths, unlisted=True) == {"resume.ckpt", *weights}
    found = waste_of_trial(paths, Record.read(paths.record), time.time(), (), True)
    write_trial(store, position=0, status="failed")  # a sweep lists it again
    assert remove_all(found) == []


def test_of_a_store_code_and_notes_that_nobody_refers_to_go(store: StorePaths) -> None:
    trained(store, 0, code="used", packages="used")
    for name in ("used", "unused", "young"):
        store.code(name).mkdir(parents=True)
        (store.code(name) / "changes.diff").write_text("x" * 10)
        store.packages(name).parent.mkdir(exist_ok=True)
        store.packages(name).touch()
    store.commands.mkdir()
    for name in ("dead", "alive"):
        (store.commands / f"{name}.json").write_text('{"sweep": "digits"}')
    leftover = store.analysis / "mine" / "grams" / ".x.part"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    for path in (*store.root.glob("code/*used"), *store.root.glob("packages/*used.txt"), leftover):
        os.utime(path, (time.time() - 7200,) * 2)
    records = [Record.read(store.trial(folder.name).record) for folder in store.trials.iterdir()]
    with Claim.acquire(store.commands / "alive.json", sweep="digits") or pytest.fail("claimed"):
        for path in store.commands.iterdir():
            os.utime(path, (time.time() - 100,) * 2)
        found = waste_of_store(store, [record for record in records if record], time.time())
        names = {removal.path.relative_to(store.root).as_posix(): removal.size for removal in found}
        assert names == {
            "code/unused": 10,
            "packages/unused.txt": 0,
            "commands/dead.json": 19,
            "analysis/mine/grams/.x.part": 0,
        }
        assert {removal.path.name for removal in waste_of_store(store, None, time.time())} == {"dead.json", ".x.part"}
        remove_all(found)
    assert sorted(path.name for path in (store.root / "code").iterdir()) == ["used", "young"]


def test_a_file_that_is_gone_is_not_told_of_as_removed(tmp_path: Path) -> None:
    assert remove_all([Removal("x", tmp_path / "none", 3)]) == []


def test_nothing_goes_through_a_link_out_of_the_store(store: StorePaths, tmp_path: Path) -> None:
    paths = trained(store, 0)
    paths.checkpoints.rename(tmp_path / "elsewhere")
    paths.checkpoints.symlink_to(tmp_path / "elsewhere")
    assert remove_all(Budget(0).excess([paths], ()).removals) == []
    assert len(list((tmp_path / "elsewhere").iterdir())) == 5
    store.code("linked").parent.mkdir()
    store.code("linked").symlink_to(tmp_path / "elsewhere")
    assert len(remove_all([Removal("code", store.code("linked"), 0)])) == 1
    assert len(list((tmp_path / "elsewhere").iterdir())) == 5
