"""Trials from before an option was added are found under the signature that they have today, and taken over."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from claim_holder import claimed_elsewhere

from nnray import Sweep
from nnray.errors import StoreError
from nnray.store.claim import is_claimed
from nnray.store.membership import Membership
from nnray.store.record import Record
from nnray.sweep.planning.plan import make_plan
from nnray.trial import StorePaths, TrialPaths, resolve
from nnray.trial.config_file import with_checksum
from nnray.trial.yaml_dumper import dump_yaml
from nnray.trial.yaml_loader import load_yaml

MODULE = """
    from torch import nn

    class Aging(nn.Linear):
        def __init__(self, width: int = 3{more}):
            super().__init__(width, 10)
"""
NEW_OPTION = ', slope: float = 0.5, marks: list = [{"a": 1}], act: nn.Module = nn.ReLU()'
PROGRAM = """
    import json, sys
    from pathlib import Path
    from nnray import Sweep, grid
    from nnray.store.record import Record
    from nnray.sweep.planning.plan import make_plan
    from nnray.trial import StorePaths

    root, module, statuses = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

    def plan(name="s"):
        base = {"model": f"{module}.Aging", "data": "Digits", "model.width": 2, "trainer.accelerator": "cpu"}
        return make_plan(Sweep(name=name, base=base, space={"seed": grid(range(4))}), StorePaths(Path(root)), Path())

    def told(plan):
        trials = ((trial, trial.configuration, trial.former) for trial in plan.trials)
        return [[trial.signature, c.full_signature, trial.state, f and f.signature] for trial, c, f in trials]

    def folders():
        return sorted(path.name for path in Path(root).glob("trials/*"))

    first = plan()
    before = folders()
    facts = {"first": told(first), "departed": len(first.departed), "dry": before}
    first.apply()
    for trial, status in zip(first.trials, statuses):
        if status:
            Record(trial.configuration.full_signature, status, host="then").write(trial.paths.record)
            (trial.paths.folder / "weights").write_text(str(trial.membership.position))
    facts.update(folders=folders(), second=told(plan()), departed_after=len(plan().departed))
    print(json.dumps(facts))
"""


class Workshop:
    """A store and a module of a person's, whose class gains an option between two processes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.store, self.module, self.folder = StorePaths(folder / "store"), name, folder

    def facts(self, more="", statuses=()):
        (self.folder / f"{self.module}.py").write_text(textwrap.dedent(MODULE.format(more=more)))
        path = os.pathsep.join([str(self.folder), str(Path(__file__).parents[3])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(PROGRAM),
            str(self.store.root),
            self.module,
            json.dumps(statuses),
        ]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """What the processes before and after the option said, and the store that they left."""
    workshop = Workshop(tmp_path_factory.mktemp("history"), "aging_networks")
    before = workshop.facts(statuses=["completed", "failed", "running"])
    after = workshop.facts(more=NEW_OPTION)
    return workshop, before, after


def test_they_are_found_without_anything_being_written(history):
    _, before, after = history
    old = [signature for signature, *_ in before["first"]]
    assert [state for _, _, state, _ in after["first"]] == ["complete", "failed", "run", "run"]
    assert [former for *_, former in after["first"]] == old
    assert after["dry"] == sorted(old)
    assert after["departed"] == 0, "they have not left the sweep"


def test_their_folders_are_taken_over(history):
    workshop, before, after = history
    new = [signature for signature, *_ in after["first"]]
    assert set(new).isdisjoint(signature for signature, *_ in before["first"])
    assert after["folders"] == sorted(new)
    assert [(state, former) for _, _, state, former in after["second"]] == [
        ("complete", None),
        ("failed", None),
        ("run", None),
        ("run", None),
    ]
    assert after["departed_after"] == 0
    for position, (signature, full, *_) in enumerate(after["first"]):
        paths = workshop.store.trial(signature)
        values = load_yaml(paths.config.read_text())
        assert values["model"]["init_args"] == {
            "width": 2,
            "slope": 0.5,
            "marks": [{"a": 1}],
            "act": {"class_path": "torch.nn.ReLU", "init_args": {"inplace": False}},
        }
        assert values["trainer"]["accelerator"] == "cpu"
        assert Membership.read(paths, "s").position == position
        record = Record.read(paths.record)
        if position < 3:
            assert (record.signature, record.host) == (full, "then")
            assert (paths.folder / "weights").read_text() == str(position)
        else:
            assert record is None


BASE = {"model": "MLP", "data": "Digits"}


def older(store, configuration, without, status="completed", name="0123456789abcdef"):
    """Write the folder of a trial as it was before the keys ``without`` of the model were there."""
    values = json.loads(json.dumps(configuration.values))
    for key in without:
        del values["model"]["init_args"][key]
    paths = store.trial(name)
    paths.folder.mkdir(parents=True)
    paths.config.write_text(dump_yaml(values))
    if status:
        Record(name * 4, status).write(paths.record)
    return paths


def plan_of(store, **base):
    return make_plan(Sweep(name="s", base={**BASE, **base}), store, Path())


def test_the_best_of_several_is_taken(store):
    configuration = resolve(BASE)
    older(store, configuration, ["depth"], "running", "a" * 16)
    best = older(store, configuration, ["width"], "completed", "b" * 16)
    older(store, configuration, ["width", "depth"], None, "c" * 16)
    (trial,) = plan_of(store).trials
    assert (trial.former, trial.state) == (best, "complete")


def test_other_configurations_are_not_taken(store):
    older(store, resolve({**BASE, "model.width": 7}), ["depth"])
    older(store, resolve({**BASE, "model": "ResNet9"}), ["width"], name="a" * 16)
    (trial,) = plan_of(store).trials
    assert (trial.former, trial.state) == (None, "run")


@pytest.mark.parametrize("damage", ["no file", "no YAML", "no class", "removed option", "no text", "another value"])
def test_folders_that_mean_nothing_today_are_passed_over(store, damage):
    paths = older(store, resolve(BASE), ["depth"])
    text = paths.config.read_text()
    if damage == "no file":
        paths.config.unlink()
    else:
        changed = {
            "no YAML": text + "x: [",
            "no class": text.replace("nnray.models.MLP", "gone.MLP"),
            "removed option": text.replace("width:", "height:"),
            "no text": "\x00",
            "another value": with_checksum(text.replace("seed: 0", "seed: 1")).replace("seed: 1", "seed: 0"),
        }
        paths.config.write_text(changed[damage])
    assert plan_of(store).trials[0].former is None


def test_a_trial_that_other_code_is_training_is_left_to_it(store):
    paths = older(store, resolve(BASE), ["depth"], "running")
    with claimed_elsewhere(paths):
        assert plan_of(store).trials[0].former is None
    plan = plan_of(store)
    assert plan.trials[0].former == paths
    with claimed_elsewhere(paths):
        plan.apply()
    assert paths.folder.exists()
    assert not plan.trials[0].paths.record.exists()


def apply_and_die(root, at):
    """Take over a trial and be killed before the file ``at`` is replaced."""

    def killed(self, target):
        if Path(target).name == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    rename, Path.replace = Path.replace, killed
    plan_of(StorePaths(root)).apply()


@pytest.mark.parametrize("at", ["config.yaml", "record.json", "s.json"])
def test_a_process_that_is_killed_meanwhile_leaves_the_rest_to_the_next(store, in_child, at):
    paths = older(store, resolve(BASE), ["depth"])
    assert in_child(apply_and_die, store.root, at) == -9
    assert not paths.folder.exists()
    plan = plan_of(store)
    assert [trial.state for trial in plan.trials] == ["complete"]
    assert plan.departed == ()
    plan.apply()
    (trial,) = plan_of(store).trials
    assert (trial.former, trial.state) == (None, "complete")
    assert Record.read(trial.paths.record).signature == trial.configuration.full_signature
    assert trial.paths.config.read_text() == with_checksum(trial.configuration.yaml())
    assert Membership.read(trial.paths, "s") is not None


def test_two_commands_that_take_over_the_same_trial(store):
    paths = older(store, resolve(BASE), ["depth"])
    first, second = plan_of(store), plan_of(store)
    first.apply()
    second.apply()
    assert not paths.folder.exists()
    assert [trial.state for trial in plan_of(store).trials] == ["complete"]
    assert not is_claimed(first.trials[0].paths.claim)


def test_a_folder_that_somebody_renamed_is_not_believed(store):
    other = resolve({**BASE, "model.width": 7})
    paths = TrialPaths(store.trials / resolve(BASE).signature)
    paths.folder.mkdir(parents=True)
    paths.config.write_text(other.yaml())
    Record(other.full_signature, "completed").write(paths.record)
    with pytest.raises(StoreError, match="belongs to another configuration"):
        plan_of(store)
