from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from trial_folders import write_trial, write_trials

from nnray.store.mlflow.place import Place
from nnray.store.mlflow.queue import MirrorQueue
from nnray.store.mlflow.sender import Sender
from nnray.trial.paths import StorePaths


def names(count: int, first: int = 0) -> list[str]:
    return [f"{number:016x}" for number in range(first, first + count)]


@pytest.fixture
def queue(tmp_path) -> MirrorQueue:
    return MirrorQueue(StorePaths(tmp_path), "own")


def test_what_was_put_waits_until_it_is_settled(queue, tmp_path):
    queue.put("digits", names(3))
    queue.put("other", names(1))
    again = MirrorQueue(StorePaths(tmp_path), "own")  # as in another process
    assert again.sweeps() == ["digits", "other"]
    assert again.waiting("digits") == set(names(3))
    (batch,) = again.batches("digits", 100)
    assert batch.signatures == tuple(names(3))
    again.settle(batch, left=[])
    assert queue.waiting("digits") == set()
    assert queue.waiting("other") == set(names(1))


def test_what_changes_while_it_is_sent_is_sent_again(queue):
    queue.put("digits", names(2))
    (batch,) = queue.batches("digits", 100)
    queue.put("digits", names(1))
    queue.settle(batch, left=[])
    assert queue.waiting("digits") == set(names(1))


def test_what_was_refused_goes_behind_all_others(queue):
    queue.put("digits", names(2))
    queue.put("digits", names(1, first=7))
    (batch, _) = queue.batches("digits", 2)
    queue.settle(batch, left=names(1))
    assert [batch.signatures for batch in queue.batches("digits", 1)] == [tuple(names(1, first=7)), tuple(names(1))]


def test_batches_hold_everything_once_and_are_no_larger_than_asked_for(queue):
    queue.put("digits", names(250))
    queue.put("digits", names(10))
    batches = list(queue.batches("digits", 100))
    assert max(len(batch.signatures) for batch in batches) <= 100
    assert {name for batch in batches for name in batch.signatures} == set(names(250))
    for batch in batches:
        queue.settle(batch, left=[])
    assert queue.waiting("digits") == set()


def test_an_outage_of_hours_leaves_few_files(queue):
    for second in range(300):
        queue.put("digits", names(1, first=second % 7))
    batches = list(queue.batches("digits", 100))
    assert [set(batch.signatures) for batch in batches] == [set(names(7))]
    assert len(list((queue.folder / "digits").iterdir())) == 1


@pytest.mark.parametrize("content", ["", "../../etc/passwd\n", "zz\n\x00\xff\n", "0" * 17 + "\n"])
def test_lines_that_are_no_signatures_are_nothing(queue, content):
    queue.put("digits", names(1))
    (queue.folder / "digits" / "00000000000000000001-damaged.txt").write_text(content, encoding="latin-1")
    assert queue.waiting("digits") == set(names(1))
    for batch in queue.batches("digits", 100):
        queue.settle(batch, left=[])
    assert list((queue.folder / "digits").iterdir()) == []


def test_folders_that_no_sweep_can_be_called_are_passed_over(queue):
    (queue.folder / ".hidden").mkdir(parents=True)
    assert queue.sweeps() == []


def _put_and_settle(root: Path, first: int) -> None:
    queue = MirrorQueue(StorePaths(root), "own")
    for number in range(first, first + 50):
        queue.put("digits", names(1, number))
        for batch in queue.batches("digits", 5):
            queue.settle(batch, left=batch.signatures)


def test_processes_that_add_and_settle_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_put_and_settle, args=(tmp_path, 1000 * number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    waiting = MirrorQueue(StorePaths(tmp_path), "own").waiting("digits")
    assert waiting == {name for number in range(4) for name in names(50, 1000 * number)}


def test_one_process_is_the_sender_and_the_next_one_follows_it(tmp_path):
    store = write_trials(tmp_path, 2)
    first, second = Sender(store, None), Sender(store, None)
    first.queue.put("digits", sorted(path.name for path in store.trials.iterdir()))
    assert first.send("digits")
    second.queue.put("digits", [write_trial(store, position=2).signature])
    assert not second.send("digits")
    assert second.is_elsewhere
    assert "another command (on " in next(iter(second.missed("digits").values()))
    assert first.send("other")  # for all sweeps of all commands
    assert second.missed("digits") == {}
    second.queue.put("digits", [write_trial(store, position=3).signature])
    first.close()
    assert second.send("digits")
    assert second.missed("digits") == {}
    second.close()


def test_a_trial_that_cannot_be_read_keeps_no_other_back(tmp_path):
    store = write_trials(tmp_path, 3)
    first, second, third = sorted(path.name for path in store.trials.iterdir())
    (store.trial(first).record).write_text("{")
    store.trial(second).membership("digits").unlink()
    sender = Sender(store, None)
    delivered = []
    assert sender.send_all("digits", [first, second, third, "0" * 16], delivered.append) == {}
    assert delivered == [third]
    sender.close()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://me:secret@host:5000/base", "http://host:5000/base"),
        ("https://me:se/cr@et@host", "https://host"),
        ("postgresql://me:secret@host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=***"),
        ("http://host/?access_token=secret", "http://host/?access_token=***"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////tmp/x@y/mlflow.db", "sqlite:////tmp/x@y/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_a_place_is_shown_without_its_secrets(tmp_path, uri, shown):
    place = Place.of(StorePaths(tmp_path), uri)
    assert place.shown == shown
    assert not place.is_own
    assert "secret" not in place.folder_name


@pytest.mark.parametrize("uri", ["http://me:secret@host", "http://me:se%63ret@host", "https://me:sec/r@et@host"])
def test_reasons_hold_no_secrets(tmp_path, uri):
    place = Place.of(StorePaths(tmp_path), uri)
    password = "sec/r@et" if "/r@" in uri else "secret"
    reason = place.reason(ValueError(f"API request to {uri}/api failed: 'me' with '{password}' is unknown"))
    assert password not in reason
    assert uri not in reason
    assert "host" in reason
    long = ValueError("x" * 170 + f" {uri} {password}")  # the line is cut after the secrets are out, not before
    assert "sec" not in place.reason(long).replace("secrets", "")


def test_other_credentials_are_no_other_place(tmp_path):
    store = StorePaths(tmp_path)
    one, other = Place.of(store, "http://me:old@host"), Place.of(store, "http://you:new@host")
    assert one.folder_name == other.folder_name
    assert one.folder_name != Place.of(store, "http://host/other").folder_name


def test_the_stores_own_database_is_the_default(tmp_path):
    store = StorePaths(tmp_path)
    assert Place.of(store, None) == Place.of(store, f"sqlite:///{store.mlflow_database}")
