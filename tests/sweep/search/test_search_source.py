"""A search in a store: nothing is trained here, results are written as a runner would write them."""

import dataclasses
import json
from pathlib import Path

import pytest
from claim_holder import claimed_elsewhere
from ray import tune
from ray.tune.search import Searcher
from trial_folders import append_row

from nnray import Sweep, grid, zipped
from nnray.errors import ConfigurationError, SpaceError
from nnray.store.membership import Membership, members
from nnray.store.record import Record, now
from nnray.store.stored_trial import StoredTrial
from nnray.sweep.planning.plan import make_plan
from nnray.sweep.queue import TrialQueue
from nnray.sweep.search import open_search
from nnray.trial import StorePaths

SPACE = {"optimizer.lr": tune.loguniform(1e-4, 1e-1), "model.width": grid(8, 16, 32)}


def sweep_of(**fields):
    base = {"model": "MLP", "data": "Digits", "trainer": {"max_epochs": 1}}
    return Sweep(**{"name": "s", "base": base, "space": SPACE, "search": "optuna", "num_samples": 6, **fields})


class Session:
    """One run of the command: asks for trials until it is told to stop, and counts what it trains."""

    def __init__(self, store, sweep, retry_failed=False, settings=None):
        self.plan = make_plan(sweep, store, Path(), settings, retry_failed)
        self.trained = []

    def run(self, most=1000, at_a_time=1, failing=(), result="completed", cause="error"):
        with open_search(self.plan) as source:
            self.plan.apply()
            self.source, self.queue = source, TrialQueue(self.plan.todo, now())
            source.resume()
            self.queue.feed(source)
            running = []
            while len(self.trained) < most and not self.queue.exhausted:
                trial = self.queue.take() if len(running) < at_a_time else None
                if trial is not None:
                    running.append(trial)
                    continue
                if not running:
                    assert self.queue.exhausted, "it waits for nothing"
                    break
                trial = running.pop(0)
                self.trained.append(trial.signature)
                outcome = "failed" if len(self.trained) in failing else result
                finish(trial, outcome, cause=cause if outcome == "failed" else None)
                self.queue.settle(trial.signature, outcome)
        return self


def finish(trial, status="completed", **changes):
    if status != "failed":
        lr = trial.configuration.values["optimizer"]["init_args"]["lr"]
        append_row(trial.paths.metrics, {"epoch": 0, "step": 1, "time": 0.0, "val_acc": 1 - abs(lr - 0.01)})
    before = Record.read(trial.paths.record) or Record(trial.configuration.full_signature)
    made = dataclasses.replace(before, status=status, attempts=before.attempts + 1, ended=now(), **changes)
    made.write(trial.paths.record)


def listed(store):
    """Return what the folders tell of the search: position, name and asks of each trial, in order."""
    found = [Membership.read(paths, "s") for paths in members(store, "s")]
    return sorted((place.position, place.name, place.asks) for place in found)


def test_a_search_makes_as_many_trials_as_it_is_to(store):
    session = Session(store, sweep_of())
    assert (len(session.plan.trials), session.plan.total, session.plan.is_done) == (0, 6, False)
    session.run()
    assert len(set(session.trained)) == 6
    assert [position for position, *_ in listed(store)] == list(range(6))
    again = Session(store, sweep_of())
    assert (len(again.plan.trials), again.plan.is_done) == (6, True)


def test_a_trial_is_listed_as_soon_as_it_is_proposed(store):
    session = Session(store, sweep_of())
    with open_search(session.plan) as source:
        session.plan.apply()
        source.resume()
        trial = source.ask()
    (place,) = (json.loads(trial.paths.membership("s").read_text()),)
    (ask,) = place["asks"]
    assert ask == {
        "number": 0,
        "asked": 0,
        "told": None,
        "values": None,
        "point": {
            "optimizer.lr": trial.configuration.values["optimizer"]["init_args"]["lr"],
            "model.width": trial.configuration.values["model"]["init_args"]["width"],
        },
    }
    assert place["name"].startswith(f"lr={ask['point']['optimizer.lr']:.4g} width=")


@pytest.mark.parametrize("search", ["random", "optuna", {"name": "nevergrad", "optimizer": "OnePlusOne"}], ids=str)
@pytest.mark.parametrize("killed", [1, 4])
def test_killed_and_started_again_it_makes_the_same_trials(tmp_path, search, killed):
    from nnray.trial.paths import StorePaths

    whole, parts = StorePaths(tmp_path / "whole"), StorePaths(tmp_path / "parts")
    sweep = sweep_of(search=search)
    session = Session(whole, sweep).run()
    first = Session(parts, sweep).run(most=killed)
    with open_search(make_plan(sweep, parts, Path())) as source:
        source.resume()
        source.ask()  # and then the command is killed
    second = Session(parts, sweep).run()
    assert first.trained + second.trained == session.trained
    assert listed(parts) == listed(whole)


def test_what_ended_while_nobody_listened_is_told_first(store):
    session = Session(store, sweep_of())
    with open_search(session.plan) as source:
        source.resume()
        trial = source.ask()
    finish(trial)  # and then the command is killed
    again = Session(store, sweep_of()).run()
    assert trial.signature not in again.trained
    asks = {ask.number: ask for _, _, (ask, *_) in listed(store)}
    assert asks[0].told == 1
    assert asks[1].asked == 2


def test_a_trial_that_was_running_at_the_kill_comes_first(store):
    Session(store, sweep_of()).run(most=2)
    with open_search(make_plan(sweep_of(), store, Path())) as source:
        source.resume()
        trial = source.ask()
    Record(trial.configuration.full_signature, "running", attempts=1, started=now()).write(trial.paths.record)
    trial.paths.resume.write_bytes(b"")
    again = Session(store, sweep_of())
    assert again.plan.counts() == {"complete": 2, "resume": 1}
    assert again.run().trained[0] == trial.signature
    assert len(again.trained) == 4


def test_failed_trials_are_told_as_failures_and_tried_again_on_request(store):
    session = Session(store, sweep_of()).run(failing=(2,))
    failed = session.trained[1]
    place = Membership.read(store.trial(failed), "s")
    assert place.asks[0].told is not None
    assert place.asks[0].values is None
    assert Session(store, sweep_of()).plan.is_done
    again = Session(store, sweep_of(), retry_failed=True).run()
    assert again.trained == [failed]
    place = Membership.read(store.trial(failed), "s")
    assert place.asks[0].values == [pytest.approx(0.99, abs=0.1)]
    assert place.asks[0].told == 12


def test_a_diverged_trial_is_told_as_the_worst_so_far(store):
    Session(store, sweep_of()).run(failing=(1, 4), cause="diverged")
    values = [asks[0].values for *_, asks in listed(store)]
    assert values[0] is None, "there was none to compare with"
    assert values[3] == min(values[1:3])
    assert None not in values[1:]


@pytest.mark.parametrize("search", ["optuna", "nevergrad"])
def test_a_search_with_diverged_trials_goes_on_as_if_it_had_not_been_interrupted(store, tmp_path, search):
    whole = Session(store, sweep_of(search=search, num_samples=8)).run(failing=(2, 3), cause="diverged")
    other = StorePaths(tmp_path / "other")
    parts = Session(other, sweep_of(search=search, num_samples=8)).run(most=4, failing=(2, 3), cause="diverged")
    rest = Session(other, sweep_of(search=search, num_samples=8)).run()
    assert whole.trained == [*parts.trained, *rest.trained]
    assert listed(store) == listed(other)


def test_a_trial_that_was_stopped_early_is_a_result(store):
    Session(store, sweep_of()).run(result="stopped")
    assert all(ask.values is not None for *_, asks in listed(store) for ask in asks)


def test_what_another_sweep_has_trained_is_not_trained_again(store):
    Session(store, sweep_of()).run()
    for paths in members(store, "s"):
        Membership.read(paths, "s").write(paths, "other")
        paths.membership("s").unlink()
    again = Session(store, sweep_of(num_samples=8)).run()
    assert len(again.trained) == 2
    assert list(again.queue.results.values()) == ["completed"] * 8


def test_what_another_sweep_has_failed_at_is_not_tried_again_unasked(store):
    session = Session(store, sweep_of()).run(failing=(1,))
    for paths in members(store, "s"):
        paths.membership("s").unlink()
    again = Session(store, sweep_of()).run()
    assert again.trained == []
    assert again.queue.results[session.trained[0]] == "failed"
    for paths in members(store, "s"):
        paths.membership("s").unlink()
    assert Session(store, sweep_of(), retry_failed=True).run().trained == session.trained[:1]


def test_more_samples_continue(store):
    first = Session(store, sweep_of(num_samples=3)).run()
    second = Session(store, sweep_of(num_samples=6)).run()
    assert len(second.trained) == 3
    assert not set(first.trained) & set(second.trained)


def test_fewer_samples_keep_what_there_is(store):
    Session(store, sweep_of()).run()
    plan = make_plan(sweep_of(num_samples=3), store, Path())
    assert (len(plan.trials), plan.total, plan.is_done) == (6, 6, True)


def test_a_space_of_few_points_is_trained_whole_without_repeating_any(store):
    sweep = sweep_of(space={"model.width": grid(8, 16, 32), "seed": grid(0, 1)}, num_samples=50)
    session = Session(store, sweep)
    assert session.plan.total == 6
    session.run(at_a_time=2)
    assert len(session.trained) == len(set(session.trained)) == 6
    assert sum(len(asks) for *_, asks in listed(store)) > 6, "a sampler with a memory was not put to the test"
    assert Session(store, sweep).plan.is_done


def test_points_that_are_one_trial_end_the_search_with_a_note(store):
    sweep = sweep_of(space={"checkpoint.every_n_epochs": grid(range(1, 6)), "seed": grid(0, 1)}, search="random")
    session = Session(store, sweep).run()
    assert len(session.trained) == 2
    assert session.source.note == "search: random has proposed known trials 200 times in a row: it ends with 2 trials"


class Listless(Searcher):
    """Proposes three points and then nothing, one way or another."""

    def __init__(self, end):
        super().__init__()
        self.end, self.count = end, 0

    def set_search_properties(self, metric, mode, config, **spec):
        return True

    def suggest(self, trial_id):
        self.count += 1
        if self.count <= 3:
            return {"optimizer.lr": 0.01 * self.count, "model.width": 8}
        if isinstance(self.end, dict):
            return self.end
        if self.end == "raise":
            raise RuntimeError("no more\nof this")
        return self.end

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass


@pytest.mark.parametrize(
    ("end", "note", "problem"),
    [
        ("FINISHED", "search: Listless proposes nothing more: it ends with 3 trials", None),
        (None, "search: Listless waits for results that are not on their way: it ends with 3 trials", None),
        ("raise", None, "search: Listless: RuntimeError: no more of this"),
        ({"optimizer.lr": 0.1}, None, "search: the searcher proposes nothing for model.width"),
        ({"optimizer.lr": 0.1, "model.width": 9}, None, "9 is none of 8, 16, 32"),
    ],
    ids=str,
)
def test_a_searcher_that_stops_or_fails(store, end, note, problem):
    session = Session(store, sweep_of(search=Listless(end))).run()
    assert len(session.trained) == 3
    assert (session.source.note, session.source.problem) == (note, problem)


def test_a_metric_that_is_never_reported_ends_the_search_after_the_first_trial(store):
    session = Session(store, sweep_of(metric="val_accuracy")).run()
    assert len(session.trained) == 1
    assert session.source.problem == "metric: no trial has reported 'val_accuracy'; did you mean 'val_acc'?"


def test_trials_of_a_smaller_space_stay_and_others_leave(store):
    session = Session(store, sweep_of()).run()
    smaller = sweep_of(space={**SPACE, "model.width": grid(16, 32)}, num_samples=7)
    again = Session(store, smaller)
    stay = {trial.signature for trial in again.plan.trials}
    leave = {paths.signature for paths in again.plan.departed}
    assert stay | leave == set(session.trained)
    assert all(trial.configuration.values["model"]["init_args"]["width"] != 8 for trial in again.plan.trials)
    assert stay
    assert leave
    again.run()
    assert len(again.trained) == 7 - len(stay)
    assert Session(store, smaller).plan.is_done


def test_another_base_is_another_search(store):
    Session(store, sweep_of()).run()
    longer = sweep_of(base={"model": "MLP", "data": "Digits", "trainer": {"max_epochs": 2}})
    plan = make_plan(longer, store, Path())
    assert (len(plan.trials), len(plan.departed)) == (0, 6)


def test_a_grid_can_become_a_search(store):
    points = {"optimizer.lr": grid(0.001, 0.01), "model.width": grid(8, 64)}
    plan = make_plan(sweep_of(space=points, search=None, num_samples=None), store, Path())
    plan.apply()
    for trial in plan.trials:
        finish(trial)
    session = Session(store, sweep_of()).run()
    assert len(session.trained) == 4, "two of the grid's trials lie in the space"
    again = Session(store, sweep_of(num_samples=7)).run()
    assert len(again.trained) == 1


def test_settings_take_a_key_out_of_the_search(store):
    Session(store, sweep_of(), settings={"model.init_args.width": 8}).run(most=2)
    assert [StoredTrial(paths).flat_config["model.init_args.width"] for paths in members(store, "s")] == [8, 8]


def test_two_commands_do_not_search_for_the_same_sweep(store):
    plan = make_plan(sweep_of(), store, Path())
    with open_search(plan):
        second = open_search(plan)
        with pytest.raises(SpaceError, match="another command is searching for s in the store"):
            second.__enter__()
    with open_search(plan):
        pass


def test_a_trial_that_another_command_trains_is_told_when_it_has_ended(store):
    sweep = sweep_of(num_samples=2)
    with open_search(make_plan(sweep, store, Path())) as source:
        source.resume()
        trial = source.ask()
    with claimed_elsewhere(trial.paths):
        Record(trial.configuration.full_signature, "running").write(trial.paths.record)
        session = Session(store, sweep)
        assert session.plan.counts() == {"running": 1}
    finish(trial)
    session.run()
    assert len(session.trained) == 1
    assert all(ask.values is not None for *_, asks in listed(store) for ask in asks)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"num_samples": None}, SpaceError, "search: how many trials"),
        ({"replicates": 3}, SpaceError, "replicates: a search trains each of its points once"),
        ({"search": "optunna"}, SpaceError, "did you mean 'optuna'"),
        ({"space": {"optimizer.lrr": tune.uniform(0, 1)}}, ConfigurationError, "optimizer.*lrr"),
        ({"space": {"model.width": grid(8, "x")}}, ConfigurationError, "width"),
        ({"space": {"optimizer.lr": 0.1}}, SpaceError, "nothing varies"),
    ],
    ids=["no budget", "replicates", "unknown search", "unknown key", "wrong type", "nothing varies"],
)
def test_mistakes_are_found_before_anything_is_written(store, fields, error, message):
    with pytest.raises(error, match=message):
        make_plan(sweep_of(**fields), store, Path())
    assert not store.root.exists()


def test_zipped_keys_and_trials_are_continued_too(store):
    space = {"data.batch_size": zipped(64, 128), "trainer.max_epochs": zipped(1, 2), "seed": tune.randint(0, 100)}
    sweep = sweep_of(space=space, trials=[{"model": "MLP"}, {"model": {"class_path": "SimpleCNN"}}])
    whole = Session(store, sweep).run(most=3)
    again = Session(store, sweep)
    assert [trial.signature for trial in again.plan.trials] == whole.trained
    assert len(again.run().trained) == 3


def test_a_trial_that_is_interrupted_is_not_waited_for(store):
    sweep = sweep_of(search={"name": "nevergrad", "optimizer": "RPowell"})
    with open_search(make_plan(sweep, store, Path())) as source:
        source.resume()
        queue = TrialQueue([], now())
        queue.feed(source)
        trial = queue.take()
        assert queue.take() is None
        assert not queue.exhausted
        queue.settle(trial.signature, "interrupted")
        assert queue.take() is None
        assert queue.exhausted
        assert (
            source.note
            == "search: nevergrad (RPowell) waits for results that are not on their way: it ends with 1 trial"
        )
    assert Session(store, sweep).run().trained[0] == trial.signature


def test_the_workers_that_a_trial_asks_for_are_a_part_of_it(store):
    plan = make_plan(sweep_of(resources={"cpu": 1, "workers": 2}), store, Path())
    with open_search(plan) as source:
        source.resume()
        trial = source.ask()
    assert trial.configuration.values["workers"] == trial.resources.workers == 2
    assert {resources.workers for resources in plan.search.resources} == {2}
    (known,) = make_plan(sweep_of(resources={"cpu": 1, "workers": 2}), store, Path()).trials
    assert known.signature == trial.signature


def test_the_members_of_a_population_are_no_plain_trials(store):
    plan = make_plan(sweep_of(scheduler="pbt"), store, Path())
    with open_search(plan) as source:
        source.resume()
        assert "of the sweep s" in source.ask().configuration.values["source"]
