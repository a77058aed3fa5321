"""Which failed trials are tried again, by the cause of the failure; with real workers that die in every way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnray import Sweep, grid
from nnray.cli.main import main
from nnray.space.resources import Resources
from nnray.store.record import Record, now
from nnray.sweep.planning.plan import PlannedTrial, make_plan
from nnray.sweep.workers.retry import MAX_LOSSES, Retries, larger
from nnray.sweep.workers.worker_deaths import OomKills, cause_of_death
from nnray.trial import StorePaths


@pytest.fixture
def trial(store: StorePaths) -> PlannedTrial:
    sweep = Sweep(name="s", base={"model": "MLP", "data": "Digits"}, space={"seed": grid(0)})
    return make_plan(sweep, store, Path()).trials[0]


def twice(resources: Resources) -> Resources | None:
    return larger(resources, 0.0, cores=4)


def test_a_lost_trial_goes_on_as_it_was_but_not_for_ever(trial: PlannedTrial) -> None:
    retries = Retries(twice)
    assert [retries.next_attempt(trial, "lost") for _ in range(MAX_LOSSES)] == [trial] * MAX_LOSSES
    assert retries.next_attempt(trial, "lost") is None


@pytest.mark.parametrize("cause", ["error", "diverged"])
def test_what_would_fail_again_is_not_tried_again(trial: PlannedTrial, cause: str) -> None:
    assert Retries(twice).next_attempt(trial, cause) is None


def test_one_that_lacks_memory_gets_more_until_it_has_all(trial: PlannedTrial) -> None:
    retries, cores = Retries(twice), []
    attempt: PlannedTrial | None = trial
    while attempt is not None:
        cores.append(attempt.resources.cpu)
        attempt = retries.next_attempt(attempt, "out-of-memory")
    assert cores == [1, 2, 4]


@pytest.mark.parametrize(
    ("gpu", "more"), [(0.125, 0.25), (0.5, 1.0), (0.75, 1.0), (1.0, None), (2.0, None)], ids=lambda value: str(value)
)
def test_a_share_of_a_gpu_is_doubled_up_to_a_whole_one(gpu: float, more: float | None) -> None:
    resources = Resources(cpu=1, gpu=None if gpu == 0.125 else gpu)
    assert larger(resources, gpu, cores=4) == (None if more is None else Resources(cpu=1, gpu=more))


@pytest.mark.parametrize(
    ("says", "crash", "oom", "cause"),
    [
        ("ActorDiedError: The actor died unexpectedly before finishing this task.", "", False, "lost"),
        ("ActorDiedError: The actor died unexpectedly before finishing this task.", "", True, "out-of-memory"),
        ("ActorDiedError: ... node was terminated: preempted", "", False, "lost"),
        ("OutOfMemoryError: Task was killed due to the node running low on memory.", "", False, "out-of-memory"),
        ("ActorDiedError: died", "Fatal Python error: Segmentation fault\n\nCurrent thread", False, "error"),
        ("", "", False, "lost"),
    ],
    ids=["killed", "killed by the kernel", "preempted", "killed by Ray", "crashed", "nothing is known"],
)
def test_why_a_worker_died(tmp_path: Path, says: str, crash: str, oom: bool, cause: str) -> None:
    path = tmp_path / "crash.txt"
    path.write_text(crash)
    found, line = cause_of_death(says, path, oom)
    assert found == cause
    assert "\n" not in line
    assert ("Segmentation fault" in line) == bool(crash)


def test_kills_by_the_kernel_are_counted(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 1\noom_kill 3\n")
    kills = OomKills((tmp_path / "none", counter))
    assert not kills.any_since()
    counter.write_text("low 0\noom 1\noom_kill 4\n")
    assert kills.any_since()
    assert not kills.any_since()
    assert not OomKills((tmp_path / "none",)).any_since()


SPACE = """
from nnray import Sweep
WAYS = {ways}
sweep = Sweep(
    name="study",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{"max_epochs": 2}},
    }},
    trials=[
        {{
            "seed": seed,
            "trainer.callbacks": [
                {{
                    "class_path": "user_code.FailsSometimes",
                    "init_args": {{"folder": {folder!r}, "name": name, "how": name.split("-")[0], "times": times}},
                }}
            ],
        }}
        for seed, (name, times) in enumerate(WAYS.items())
    ],
)
"""


@pytest.mark.filterwarnings("default")  # Tune's own, in this very process
def test_failures_of_every_kind_on_ray(
    tmp_path: Path, ray_session: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {"memory": 1, "cuda-always": 99, "kill": 1, "crash": 1, "error": 1, "nan": 1}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attempts").mkdir()
    (tmp_path / "study.py").write_text(SPACE.format(ways=ways, folder=str(tmp_path / "attempts")))
    assert main(["sweep", "study.py"]) == 1
    output = capsys.readouterr().out
    attempts = {path.name: path.read_text().split() for path in (tmp_path / "attempts").iterdir()}
    assert attempts == {
        "memory": ["1", "2"],
        "cuda-always": ["1", "2"],
        "kill": ["1", "1"],
        "crash": ["1"],
        "error": ["1"],
        "nan": ["1"],
    }
    records = {}
    for paths in (tmp_path / "nnray-store/trials").iterdir():
        name = next(name for name in ways if f"name: {name}\n" in (paths / "config.yaml").read_text())
        records[name] = json.loads((paths / "record.json").read_text())
    told = {name: (r["status"], r["cause"], r["attempts"], r["former_attempts"]) for name, r in records.items()}
    assert told == {
        "memory": ("completed", None, 2, ["out-of-memory"]),
        "cuda-always": ("failed", "out-of-memory", 2, ["out-of-memory"]),
        "kill": ("completed", None, 2, ["lost"]),
        "crash": ("failed", "error", 1, []),
        "error": ("failed", "error", 1, []),
        "nan": ("failed", "diverged", 1, []),
    }
    assert records["crash"]["error"] == "its worker process crashed: Fatal Python error: Segmentation fault"
    assert "_fail" in records["crash"]["traceback"], "where it crashed"
    assert "failed: 4 trials (1 out-of-memory, 1 diverged, 2 error)" in output
    assert "2 of 6 trials complete" in output

    assert main(["sweep", "study.py", "--retry-cause", "error", "--in-process"]) == 1
    output = capsys.readouterr().out
    assert "4 failed before (1 out-of-memory, 1 diverged, 2 error; 2 of them to be tried again)" in output
    assert "4 of 6 trials complete, 2 of them now" in output


def test_failed_trials_are_tried_again_of_the_causes_that_are_named(store: StorePaths) -> None:
    sweep = Sweep(name="s", base={"model": "MLP", "data": "Digits"}, space={"seed": grid(range(4))})
    make_plan(sweep, store, Path()).apply()
    causes = ("lost", "out-of-memory", "error", None)  # None: recorded before there were causes
    for trial, cause in zip(make_plan(sweep, store, Path()).trials, causes, strict=True):
        Record(trial.configuration.full_signature, "failed", ended=now(), cause=cause).write(trial.paths.record)

    def retried(*named: str) -> list[int]:
        import dataclasses

        plan = dataclasses.replace(make_plan(sweep, store, Path(), None, True), retry_causes=frozenset(named) or None)
        return [trial.membership.position for trial in plan.todo]

    assert retried() == [0, 1, 2, 3]
    assert retried("error") == [2, 3]
    assert retried("lost", "out-of-memory") == [0, 1]
    assert make_plan(sweep, store, Path()).todo == ()
