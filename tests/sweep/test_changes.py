"""What has changed since the trials that a command would reuse were trained."""

from pathlib import Path

import pytest

from nnray import Sweep, grid
from nnray.store.record import Record, now
from nnray.sweep.changes import changes_since
from nnray.sweep.plan import make_plan
from nnray.training.provenance import Code
from nnray.trial import resolve

BASE = {"model": "MLP", "data": {"class_path": "FakeData", "init_args": {"size": 5, "image_size": 2}}}
NOW = Code("b" * 40, "")


@pytest.fixture
def plan(store):
    """A function of what each trial's record says that returns the plan of trials so recorded."""

    def make(*records):
        sweep = Sweep(name="s", base=BASE, space={"seed": grid(range(len(records)))})
        first = make_plan(sweep, store, Path())
        first.apply()
        for trial, (status, fields) in zip(first.trials, records, strict=True):
            Record(trial.configuration.full_signature, status, ended=now(), **fields).write(trial.paths.record)
        return make_plan(sweep, store, Path())

    return make


def positions(trials):
    return [trial.membership.position for trial in trials]


def by(commit, diff=""):
    return {"git_commit": commit, "git_diff": diff}


def test_only_finished_trials_of_other_known_code_count(plan):
    made = plan(
        ("completed", by("b" * 40)),
        ("completed", by("a" * 40)),
        ("stopped", by("b" * 40, "a line")),
        ("completed", by(None, None)),
        ("failed", by("a" * 40)),
        ("running", by("a" * 40)),
    )
    changes = changes_since(made, NOW)
    assert positions(changes.code) == [1, 2]
    assert changes.data == ()
    assert changes.signatures == {made.trials[1].signature, made.trials[2].signature}
    assert changes.lines(NOW) == [
        "trained by other code: 2 of the finished trials (aaaaaaaa, bbbbbbbb with changes; now bbbbbbbb)"
    ]


def test_code_that_is_in_no_repository_tells_nothing(plan):
    assert changes_since(plan(("completed", by("a" * 40))), Code(None, None)).signatures == frozenset()


def test_nothing_changed_says_nothing(plan):
    changes = changes_since(plan(("completed", by(NOW.commit, NOW.diff))), NOW)
    assert changes.lines(NOW) == []


def test_data_whose_content_has_changed_under_its_name(plan):
    fingerprint = resolve(BASE).build_data().fingerprint()
    made = plan(
        ("completed", {"data_fingerprint": fingerprint}),
        ("completed", {"data_fingerprint": "0" * 64}),
        ("completed", {"data_fingerprint": None}),
        ("failed", {"data_fingerprint": "0" * 64}),
    )
    changes = changes_since(made, NOW)
    assert positions(changes.data) == [1]
    assert changes.signatures == {made.trials[1].signature}
    assert changes.lines(NOW) == ["trained on other data under the same name: 1 of the finished trials"]


def test_data_that_is_not_at_hand_tells_nothing(store, tmp_path):
    base = {"model": "MLP", "data": "CIFAR10", "data.root": str(tmp_path / "nothing")}
    sweep = Sweep(name="s", base=base)
    first = make_plan(sweep, store, Path())
    first.apply()
    (trial,) = first.trials
    Record(trial.configuration.full_signature, "completed", data_fingerprint="0" * 64).write(trial.paths.record)
    assert changes_since(make_plan(sweep, store, Path()), NOW).data == ()
