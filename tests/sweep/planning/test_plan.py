"""What a command is about to do, decided before anything is written."""

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest
from claim_holder import claimed_elsewhere

from nnray import Sweep, grid
from nnray.errors import ConfigurationError, SpaceError, StoreError
from nnray.store.membership import Membership, members
from nnray.store.record import Record, now
from nnray.sweep.planning.plan import check_place, forget, make_plan, planned
from nnray.trial import StorePaths, merge, resolve
from nnray.trial.yaml_loader import load_yaml

BASE = {"model": "MLP", "data": "Digits", "model.width": 4}


def sweep(**fields):
    return Sweep(**{"name": "s", "base": BASE, "space": {"seed": grid(range(4))}, **fields})


def plan_of(store, *, settings=None, retry_failed=False, **fields):
    return make_plan(sweep(**fields), store, Path(), settings, retry_failed)


def put(trial, status, **changes):
    """Record what became of a planned trial."""
    record = Record(trial.configuration.full_signature, status, started=now(), ended=now())
    dataclasses.replace(record, **changes).write(trial.paths.record)


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}


def states(plan):
    return [trial.state for trial in plan.trials]


def test_a_new_sweep_is_all_to_run_and_nothing_is_written(store):
    plan = plan_of(store)
    assert states(plan) == ["run"] * 4
    assert [trial.membership.name for trial in plan.trials] == [f"seed={seed}" for seed in range(4)]
    assert [trial.membership.position for trial in plan.trials] == [0, 1, 2, 3]
    assert plan.counts() == {"run": 4}
    assert plan.todo == plan.trials
    assert plan.departed == ()
    assert not store.root.exists()


def test_applying_it_writes_folders_and_lists_them(store):
    plan = plan_of(store, metric="val_loss", mode="min")
    plan.apply()
    for position, trial in enumerate(plan.trials):
        assert load_yaml(trial.paths.config.read_text()) == trial.configuration.values
        assert Membership.read(trial.paths, "s") == Membership(f"seed={position}", position, "val_loss", "min")
        assert not trial.paths.record.exists()
    before = snapshot(store.root)
    plan_of(store, metric="val_loss", mode="min").apply()
    assert snapshot(store.root) == before


def test_every_state_and_the_order_of_what_is_to_be_done(store):
    plan = plan_of(store, space={"seed": grid(range(8))})
    plan.apply()
    complete, stopped, failed, dead, resumable, pending, running, _new = plan.trials
    put(complete, "completed")
    put(stopped, "stopped")
    put(failed, "failed", error="ValueError: x")
    put(dead, "running")
    put(resumable, "running")
    resumable.paths.resume.touch()
    put(pending, "pending")
    put(running, "running")
    with claimed_elsewhere(running.paths):
        before = snapshot(store.root)
        plan = plan_of(store, space={"seed": grid(range(8))})
        assert snapshot(store.root) == before
        again = plan_of(store, space={"seed": grid(range(8))}, retry_failed=True)
    assert states(plan) == ["complete", "stopped", "failed", "run", "resume", "run", "running", "run"]
    assert plan.counts() == {"complete": 1, "stopped": 1, "failed": 1, "run": 3, "resume": 1, "running": 1}
    assert [trial.membership.position for trial in plan.todo] == [4, 3, 5, 6, 7]
    assert [trial.membership.position for trial in again.todo] == [4, 2, 3, 5, 6, 7]
    assert states(plan_of(store, space={"seed": grid(range(8))}))[6] == "run", "its runner is gone"


def test_a_trial_of_another_sweep_is_not_trained_again(store):
    plan = plan_of(store)
    plan.apply()
    put(plan.trials[2], "completed")
    other = plan_of(store, name="other", space={"seed": grid(2, 9)})
    assert states(other) == ["complete", "run"]
    assert other.departed == ()


@pytest.mark.parametrize(
    "space",
    [
        {"optimizer.lr": grid(1, 2), "seed": grid(0, 1)},
        {"seed": grid(0, 1), "optimizer.lr": grid(1.0, 2.0)},
        {"seed": grid(1, 0), "optimizer.init_args.lr": grid("2", 1)},
    ],
)
def test_the_same_trials_in_another_spelling(store, space):
    plan = plan_of(store, space={"optimizer.lr": grid(1, 2), "seed": grid(0, 1)})
    assert {t.signature for t in plan_of(store, space=space).trials} == {t.signature for t in plan.trials}


def test_one_changed_value_makes_exactly_its_trials_new(store):
    plan = plan_of(store, space={"model.width": grid(4, 8), "seed": grid(0, 1)})
    plan.apply()
    for trial in plan.trials:
        put(trial, "completed")
    changed = plan_of(store, space={"model.width": grid(4, 9), "seed": grid(0, 1)})
    assert states(changed) == ["complete", "complete", "run", "run"]
    assert {paths.signature for paths in changed.departed} == {trial.signature for trial in plan.trials[2:]}


def test_departed_trials_leave_the_list_and_keep_their_folders(store):
    plan = plan_of(store)
    plan.apply()
    shorter = plan_of(store, space={"seed": grid(0, 1)})
    assert {paths.signature for paths in shorter.departed} == {trial.signature for trial in plan.trials[2:]}
    shorter.apply()
    assert {paths.signature for paths in members(store, "s")} == {trial.signature for trial in plan.trials[:2]}
    assert all(trial.paths.config.exists() for trial in plan.trials)
    assert plan_of(store, space={"seed": grid(0, 1)}).departed == ()


@pytest.mark.parametrize(
    ("space", "trials", "names", "note"),
    [
        ({"seed": grid(0, 1, 0)}, None, ["seed=0", "seed=1"], r"1 duplicate merged: trials 1 and 3 \(seed=0\) differ"),
        (
            {"optimizer.lr": grid(1, 1.0, 2, 2.0)},
            None,
            ["lr=1", "lr=2"],
            r"2 duplicates merged: trials 1 and 2 \(lr=1\), for example, differ",
        ),
        (
            {"trainer.accelerator": grid("cpu", "auto"), "seed": grid(0, 1)},
            None,
            ["seed=0", "seed=1"],
            r"2 duplicates merged: trials 1 and 3 \(seed=0\), for example, differ",
        ),
        (
            {},
            [{"model.width": 4}, {"seed": 1}, {}],
            ["seed=0", "seed=1"],
            r"1 duplicate merged: trials 1 and 3 \(seed=0\) differ",
        ),
    ],
    ids=["a value twice", "a number in two spellings", "what enters no signature", "a default and its value"],
)
def test_duplicates_are_merged_with_a_note(store, space, trials, names, note):
    plan = plan_of(store, space=space, trials=trials)
    assert [trial.membership.name for trial in plan.trials] == names
    assert [trial.membership.position for trial in plan.trials] == list(range(len(names)))
    (line,) = plan.notes
    assert re.fullmatch(rf"{note} in nothing that can change a result", line)


def test_a_plan_without_duplicates_has_nothing_to_note(store):
    assert plan_of(store).notes == ()


def broken():
    yield {"seed": 1}
    raise ValueError("one\ntwo")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"trials": list, "space": {}},
            SpaceError,
            "^the sweep s has no trials: what its field 'trials' gives is empty$",
        ),
        (
            {"trials": broken, "space": {}},
            SpaceError,
            r"^trials of the sweep s: .*test_plan\.py:\d+: ValueError: one two$",
        ),
        (
            {"space": {"modle.width": grid(1, 2)}},
            ConfigurationError,
            "^modle: there is no such key; did you mean 'model'",
        ),
        (
            {"space": {"model.width": [1, 2]}},
            ConfigurationError,
            r"^model\.init_args\.width: expected int, got \[1, 2\]$",
        ),
        ({"base": "none.yaml"}, ConfigurationError, r"^cannot read configuration none\.yaml: No such file"),
        ({"base": {}}, ConfigurationError, "^model: Classifier needs one|^data: name the data set"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(store, fields, error, message):
    with pytest.raises(error, match=message):
        plan_of(store, **fields)
    assert not store.root.exists()


def architectures():
    yield {"model": {"class_path": "MLP", "init_args": {"width": 4}}}
    yield {"model": {"class_path": "MLP", "init_args": {"width": 8}}}
    yield {"model": {"class_path": "ResNet", "init_args": {"depth": 8}}}


SETTINGS = {
    "a key of the base": ({"model.width": 9}, {"seed": grid(0, 1)}, None, ["seed=0", "seed=1"]),
    "a key of the space": ({"seed": 7}, {"model.width": grid(1, 2), "seed": grid(0, 1)}, None, ["width=1", "width=2"]),
    "the only key of the space": ({"seed": 7}, {"seed": grid(0, 1)}, None, ["model=MLP data=Digits seed=7"]),
    "a key in another spelling": (
        {"optimizer.init_args.lr": 0.5},
        {"optimizer.lr": grid(1, 2), "seed": grid(0, 1)},
        None,
        ["seed=0", "seed=1"],
    ),
    "a class whose arguments vary": ({"model": "ResNet9"}, {"model.width": grid(1, 2)}, None, ["width=1", "width=2"]),
    "an argument of classes that vary": (
        {"model.width": 5},
        {"model": grid("MLP", "ResNet9")},
        None,
        ["model=MLP", "model=ResNet9"],
    ),
    "a key of generated trials": ({"model.width": 5}, {}, architectures, ["model=MLP", "model=ResNet"]),
    "a class over generated trials": ({"model": "MLP"}, {}, architectures, ["width=4", "width=8", "width=128"]),
    "null over generated classes": (
        {"lr_scheduler": None},
        {"lr_scheduler": grid("StepLR", "MultiStepLR")},
        None,
        ["model=MLP data=Digits seed=0"],
    ),
}


@pytest.mark.parametrize(("settings", "space", "trials", "names"), SETTINGS.values(), ids=SETTINGS)
def test_settings_win_over_everything(store, settings, space, trials, names):
    plan = plan_of(store, settings=settings, space=space, trials=trials)
    assert [trial.membership.name for trial in plan.trials] == names
    assert [trial.membership.position for trial in plan.trials] == list(range(len(names)))
    for trial in plan.trials:
        assert resolve(merge(trial.configuration.values, settings)).full_signature == trial.configuration.full_signature


def test_a_wrong_setting_is_named(store):
    with pytest.raises(
        ConfigurationError, match=r"^model\.init_args\.widht: MLP has no such argument; did you mean 'width'"
    ):
        plan_of(store, settings={"model.widht": 3})


@pytest.mark.parametrize("place", ["the store", "its trials"])
def test_a_file_where_a_folder_is_needed(store, place):
    blocked = store.root if place == "the store" else store.trials
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    with pytest.raises(StoreError, match=f"cannot be a store: .*{blocked.name} is a file$"):
        plan_of(store)


def test_a_place_that_cannot_be_written(tmp_path):
    def plan_and_apply():  # to root everything seems to be writable until it tries
        plan_of(StorePaths(Path("/proc/store"))).apply()

    with pytest.raises(StoreError, match=r"^cannot write to the store /proc/store: "):
        plan_and_apply()
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(StoreError, match="no permission to write in"):
            check_place(StorePaths(tmp_path / "store"))


def test_a_store_that_cannot_be_written_fails_in_one_line_when_applied(store):
    plan = plan_of(store)
    store.trials.mkdir(parents=True)
    (store.trials / plan.trials[1].signature).touch()
    with pytest.raises(StoreError, match=r"^cannot write to the store .*: (File exists|Not a directory)$"):
        plan.apply()


def test_signatures_that_begin_alike_are_never_taken_for_each_other(store):
    plan = plan_of(store)
    plan.apply()
    ours = plan.trials[1].configuration.full_signature
    theirs = ours[:16] + ours[:47:-1] + ours[16:48]
    put(plan.trials[1], "completed", signature=theirs)
    with pytest.raises(
        StoreError, match=f"belongs to another configuration whose signature begins alike: {theirs} and {ours}$"
    ):
        plan_of(store)


def damage_record(paths, outside):
    paths.record.write_text('{"signature": ')


def lead_out_of_the_store(paths, outside):
    outside.mkdir()
    paths.checkpoints.symlink_to(outside)


@pytest.mark.parametrize(
    ("damage", "why"),
    [(damage_record, r"record\.json is damaged: "), (lead_out_of_the_store, "checkpoints is a symbolic link out of")],
    ids=["record", "link"],
)
def test_a_damaged_trial_is_named_left_as_it_is_and_stops_no_other(store, tmp_path, damage, why):
    plan = plan_of(store)
    plan.apply()
    victim = plan.trials[1].paths
    damage(victim, tmp_path / "outside")
    plan = plan_of(store, retry_failed=True)
    assert states(plan) == ["run", "damaged", "run", "run"]
    assert re.search(why, plan.trials[1].damage)
    assert "\n" not in plan.trials[1].damage
    assert plan.trials[1] not in plan.todo
    before = snapshot(victim.folder)
    plan.apply()
    assert snapshot(victim.folder) == before


def test_a_damaged_place_in_the_sweep_is_written_anew(store):
    plan = plan_of(store)
    plan.apply()
    victim = plan.trials[0]
    victim.paths.membership("s").write_text("{")
    plan_of(store).apply()
    assert Membership.read(victim.paths, "s") == victim.membership


def with_results(trial):
    put(trial, "completed")
    for path in (trial.paths.metrics, trial.paths.resume, trial.paths.log, trial.paths.checkpoint(0)):
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_forgetting_leaves_what_a_trial_is_and_takes_what_became_of_it(store):
    trial = plan_of(store).trials[0]
    plan_of(store).apply()
    with_results(trial)
    forget(trial.paths)
    left = {path.relative_to(trial.paths.folder).as_posix() for path in trial.paths.folder.rglob("*") if path.is_file()}
    assert left == {"config.yaml", "sweeps/s.json", "claim.lock"}
    assert plan_of(store).trials[0].state == "run"


def test_a_trial_that_is_being_trained_is_not_forgotten(store):
    trial = plan_of(store).trials[0]
    plan_of(store).apply()
    with_results(trial)
    with claimed_elsewhere(trial.paths):
        forget(trial.paths)
    assert trial.paths.record.exists()
    assert trial.paths.checkpoint(0).exists()


def test_trials_to_train_anew_are_to_do_and_forgotten(store):
    plan = plan_of(store)
    plan.apply()
    for trial in plan.trials[:3]:
        put(trial, "completed")
    plan = dataclasses.replace(plan_of(store), retrain=frozenset({plan.trials[1].signature}))
    assert [trial.membership.position for trial in plan.todo] == [1, 3]
    plan.apply()
    assert [trial.paths.record.exists() for trial in plan.trials] == [True, False, True, False]


def test_one_trial_alone(store):
    configuration = resolve(BASE)
    trial = planned(store, configuration, Membership("x"))
    assert (trial.state, trial.signature, trial.record) == ("run", configuration.signature, None)
    assert not store.root.exists()


def test_the_holder_of_these_tests_dies_with_them(store):
    trial = plan_of(store).trials[0]
    with claimed_elsewhere(trial.paths) as process:
        assert isinstance(process, subprocess.Popen)
    assert process.returncode == -9
