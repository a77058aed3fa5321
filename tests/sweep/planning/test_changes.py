"""What has changed since the trials that a command would reuse were trained."""

import subprocess
from pathlib import Path

import pytest

from nnray import Sweep, grid
from nnray.store.record import Record, now
from nnray.sweep.planning.changes import changes_since
from nnray.sweep.planning.plan import make_plan
from nnray.training.code import Code, code_of
from nnray.trial import resolve

BASE = {"model": "MLP", "data": {"class_path": "FakeData", "init_args": {"size": 5, "image_size": 2}}}
NOW = Code("b" * 40, "")
NOWHERE = Path("/nowhere/space.py")


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
    changes = changes_since(made, NOW, NOWHERE)
    assert positions(changes.code) == [1, 2]
    assert changes.data == ()
    assert changes.signatures == {made.trials[1].signature, made.trials[2].signature}
    assert changes.lines(NOW) == [
        "trained by other code: 2 of the finished trials (aaaaaaaa, bbbbbbbb with changes; now bbbbbbbb)"
    ]


def test_code_that_is_in_no_repository_tells_nothing(plan):
    assert changes_since(plan(("completed", by("a" * 40))), Code(None, None), NOWHERE).signatures == frozenset()


def test_nothing_changed_says_nothing(plan):
    changes = changes_since(plan(("completed", by(NOW.commit, NOW.diff))), NOW, NOWHERE)
    assert changes.lines(NOW) == []


def test_data_whose_content_has_changed_under_its_name(plan):
    fingerprint = resolve(BASE).build_data().fingerprint()
    made = plan(
        ("completed", {"data_fingerprint": fingerprint}),
        ("completed", {"data_fingerprint": "0" * 64}),
        ("completed", {"data_fingerprint": None}),
        ("failed", {"data_fingerprint": "0" * 64}),
    )
    changes = changes_since(made, NOW, NOWHERE)
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
    assert changes_since(make_plan(sweep, store, Path()), NOW, NOWHERE).data == ()


@pytest.fixture
def repository(tmp_path):
    """A function that runs git in a repository of a space, a network, a configuration and a text."""

    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    for name in ("spaces/space.py", "a net/nét.py", "spaces/base.yaml", "README.md", "old.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one = 1\n" * 20)
    git("init")
    git("add", ".")
    git("commit", "-m", "First")
    return git


def edit(folder, name, text="two = 2\n"):
    with (folder / name).open("a") as file:
        file.write(text)


CODE_CHANGES = {
    "nothing": (lambda folder, git: None, []),
    "the space": (lambda folder, git: edit(folder, "spaces/space.py"), []),
    "configuration and text": (lambda folder, git: [edit(folder, f) for f in ("spaces/base.yaml", "README.md")], []),
    "a new file": (lambda folder, git: (edit(folder, "new.py"), git("add", "new.py")), []),
    "the network": (lambda folder, git: edit(folder, "a net/nét.py"), ["a net/nét.py"]),
    "the network, staged": (lambda folder, git: (edit(folder, "a net/nét.py"), git("add", ".")), ["a net/nét.py"]),
    "a file gone": (lambda folder, git: git("rm", "old.py"), ["old.py"]),
    "a file moved": (lambda folder, git: git("mv", "old.py", "young.py"), ["old.py"]),
    "several": (
        lambda folder, git: [edit(folder, name) for name in ("spaces/space.py", "old.py", "a net/nét.py")],
        ["a net/nét.py", "old.py"],
    ),
}


@pytest.mark.parametrize("commit", [False, True], ids=["uncommitted", "committed"])
@pytest.mark.parametrize(("change", "files"), CODE_CHANGES.values(), ids=CODE_CHANGES)
def test_code_is_the_tracked_python_files_but_for_the_space(repository, plan, tmp_path, change, files, commit):
    space = tmp_path / "spaces" / "space.py"
    then = code_of(space.parent)
    change(tmp_path, repository)
    if commit:
        repository("add", "--update")
        repository("commit", "--allow-empty", "-m", "Second")
    now = code_of(space.parent)
    made = plan(("completed", by(then.commit, then.diff)))
    changes = changes_since(made, now, space)
    assert list(changes.files) == files
    assert positions(changes.code) == ([0] if files else [])
    if files:
        (line,) = changes.lines(now)
        assert line.endswith(f"; changed: {', '.join(files)})")


def test_committing_what_was_trained_with_is_no_change(repository, plan, tmp_path):
    edit(tmp_path, "old.py")
    then = code_of(tmp_path)
    repository("commit", "-a", "-m", "Second")
    assert (
        changes_since(
            plan(("completed", by(then.commit, then.diff))), code_of(tmp_path), tmp_path / "space.py"
        ).signatures
        == set()
    )
    edit(tmp_path, "old.py", "three = 3\n")
    changes = changes_since(plan(("completed", by(then.commit, then.diff))), code_of(tmp_path), tmp_path / "space.py")
    assert changes.files == ("old.py",)


def test_diffs_as_older_records_hold_them(repository, plan, tmp_path):
    first = code_of(tmp_path)
    edit(tmp_path, "old.py")
    diff = subprocess.run(["git", "diff", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    made = plan(("completed", by(first.commit, diff)))
    assert changes_since(made, code_of(tmp_path), tmp_path / "space.py").signatures == set()
    edit(tmp_path, "old.py")
    assert changes_since(made, code_of(tmp_path), tmp_path / "space.py").files == ("old.py",)


def test_a_diff_too_long_to_be_kept_is_compared_as_it_is(repository, plan, tmp_path, monkeypatch):
    monkeypatch.setattr("nnray.training.code._LARGEST_DIFF", 100)
    edit(tmp_path, "README.md")
    then = code_of(tmp_path)
    made = plan(("completed", by(then.commit, then.diff)))
    assert changes_since(made, then, tmp_path / "space.py").signatures == set()
    edit(tmp_path, "README.md", "more\n")
    assert positions(changes_since(made, code_of(tmp_path), tmp_path / "space.py").code) == [0]
