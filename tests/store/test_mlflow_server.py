"""The mirror and a real ``mlflow server``: what goes wrong in between, and what is there in the end."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow_servers import Proxy, Server, postgres, postgres_missing
from trial_folders import START, epoch_row, write_trial, write_trials

from nnray.store.bookkeeper import Bookkeeper
from nnray.store.bookkeeper_process import BookkeeperProcess
from nnray.store.mlflow import thread
from nnray.store.mlflow.schema import copy_empty_database
from nnray.store.mlflow.sender import Sender
from nnray.trial.paths import StorePaths

# MLflow's own code: it configures its tables in a way that newer SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Server:
    """A server with SQLite behind it, for all tests that do not harm it: each has sweeps of its own."""
    folder = tmp_path_factory.mktemp("server")
    copy_empty_database(folder / "server.db")
    server = Server(folder, f"sqlite:///{folder / 'server.db'}").start()
    yield server
    server.kill()


@pytest.fixture
def proxy(server) -> Proxy:
    proxy = Proxy(server.url)
    yield proxy
    proxy.close()


@pytest.fixture
def sweep(request) -> str:
    """A name that no other test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-100:].strip("-")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(thread, "INTERVAL_S", 0.1)
    monkeypatch.setattr(thread, "RETRY_S", 0.2)


def runs(url: str, sweep: str, view: int = ViewType.ACTIVE_ONLY) -> list:
    client = MlflowClient(url)
    experiment = client.get_experiment_by_name(sweep)
    return list(client.search_runs([experiment.experiment_id], "", view, 1000)) if experiment else []


def signatures(store: StorePaths) -> list[str]:
    return sorted(path.name for path in store.trials.iterdir())


def check_all_there_once(url: str, store: StorePaths, sweep: str, epochs: int = 3) -> None:
    found = runs(url, sweep)
    assert sorted(run.data.tags["nnray.trial"] for run in found) == signatures(store)
    for run in found:
        values = MlflowClient(url).get_metric_history(run.info.run_id, "val_acc")
        assert [value.step for value in values] == list(range(epochs))


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_server_that_is_down_at_first_dies_and_comes_back_misses_nothing(tmp_path, sweep):
    copy_empty_database(tmp_path / "server.db")
    server = Server(tmp_path / "server", f"sqlite:///{tmp_path / 'server.db'}")
    store = write_trials(tmp_path / "store", 3, sweep)
    books = Bookkeeper(store, sweep, server.url)
    books.flush()
    sender = Sender(store, server.url)
    wait_for(lambda: len(sender.queue.waiting(sweep)) == 3)
    try:
        server.start()
        wait_for(lambda: not sender.queue.waiting(sweep))  # by itself, while the sweep goes on
        check_all_there_once(server.url, store, sweep)
        for position in range(3, 12):
            if position == 6:
                server.kill()
            books.note(write_trial(store, sweep, position=position).signature)
            time.sleep(0.05)
            wait_for(lambda: books.flush() > 0 and books.is_up_to_date)
        assert len(signatures(store)) == 12
        server.start()
        assert books.close().missed == {}
        check_all_there_once(server.url, store, sweep)
    finally:
        server.kill()
        books.close(patience_s=0)


def test_what_one_command_left_is_sent_by_the_next_one_of_another_sweep(tmp_path, server, proxy, sweep):
    store = write_trials(tmp_path, 3, f"{sweep}-first")
    proxy.fault = lambda path: (503, "text/plain", "busy")
    report = Bookkeeper(store, f"{sweep}-first", proxy.url).close()
    assert report.missed.keys() == set(signatures(store))
    assert "too many 503 error responses" in next(iter(report.missed.values()))
    proxy.fault = lambda path: None
    write_trial(store, f"{sweep}-second")
    assert Bookkeeper(store, f"{sweep}-second", proxy.url).close().missed == {}
    check_all_there_once(server.url, store, f"{sweep}-first")


@pytest.mark.parametrize(
    "answer",
    [
        (429, "text/plain", "slow down"),
        (500, "text/html", "<html><body>Internal error</body></html>"),
        (502, "text/html", "<html><h1>Bad gateway</h1></html>"),
        (200, "text/html", "<html><body>Please log in</body></html>"),
        (200, "application/json", "[1, 2"),
        (401, "application/json", '{"error_code": "UNAUTHENTICATED", "message": "who are you?"}'),
        (400, "application/json", '{"error_code": "INTERNAL_ERROR", "message": "out of luck"}'),
    ],
    ids=["429", "500", "502", "log in", "cut off", "401", "400"],
)
def test_answers_that_are_errors_put_everything_off(tmp_path, server, proxy, sweep, answer):
    store = write_trials(tmp_path, 2, sweep)
    proxy.fault = lambda path: answer
    started = time.monotonic()
    report = Bookkeeper(store, sweep, proxy.url.replace("//", "//me:secret@")).close()
    assert time.monotonic() - started < 20
    assert report.problem is None
    assert report.missed.keys() == set(signatures(store))
    assert all("secret" not in reason and "\n" not in reason for reason in report.missed.values())
    proxy.fault = lambda path: None
    assert Bookkeeper(store, sweep, proxy.url).close().missed == {}  # credentials make no other place
    check_all_there_once(server.url, store, sweep)


def test_a_trial_that_is_refused_keeps_no_other_back(tmp_path, server, proxy, sweep):
    store = write_trials(tmp_path, 6, sweep)
    sender = Sender(store, proxy.url)
    refusals = iter([True, True, True])

    def fault(path: str) -> tuple[int, str, str] | None:
        refused = path.endswith("log-batch") and next(refusals, False)
        return (400, "application/json", '{"error_code": "BAD_REQUEST", "message": "too odd"}') if refused else None

    proxy.fault = fault
    missed = sender.send_all(sweep, signatures(store))
    assert sorted(missed) == signatures(store)[:3]
    assert all("too odd" in reason for reason in missed.values())
    assert sender.send_all(sweep, []) == {}
    check_all_there_once(server.url, store, sweep)
    assert len(runs(server.url, sweep, ViewType.ALL)) == 6
    sender.close()


def test_a_server_that_refuses_everything_is_not_asked_for_every_trial(tmp_path, server, proxy, sweep):
    store = write_trials(tmp_path, 15, sweep)
    proxy.fault = lambda path: (500, "text/plain", "broken") if path.endswith("runs/create") else None
    sender = Sender(store, proxy.url)
    assert len(sender.send_all(sweep, signatures(store))) == 15
    assert sum(request.endswith("runs/create") for request in proxy.requests) <= 5
    proxy.fault = lambda path: None
    assert sender.send_all(sweep, []) == {}
    sender.close()


@pytest.mark.parametrize(
    "lost", ["runs/create", "runs/log-batch", "runs/update", "mlflow-artifacts", "experiments/create"]
)
def test_an_answer_that_is_lost_doubles_nothing(tmp_path, server, proxy, sweep, lost):
    store = write_trials(tmp_path, 2, sweep)
    count = {"left": 2}

    def lose(path: str) -> bool:
        if lost in path:
            count["left"] -= 1
        return lost in path and count["left"] >= 0

    proxy.lose_answers = lose
    books = Bookkeeper(store, sweep, proxy.url)
    books.flush()
    sender = Sender(store, proxy.url)
    wait_for(lambda: sender.queue.waiting(sweep) == set() and runs(server.url, sweep))
    assert books.close().missed == {}
    check_all_there_once(server.url, store, sweep)


def test_a_slow_server_delays_the_end_by_no_more_than_was_said(tmp_path, server, proxy, sweep):
    store = write_trials(tmp_path, 10, sweep)
    proxy.delay_s = 1.0
    books = Bookkeeper(store, sweep, proxy.url)
    started = time.monotonic()
    books.flush()
    report = books.close(patience_s=3)
    assert time.monotonic() - started < 6
    assert report.problem is None
    assert "took longer than 3 s" in next(iter(report.missed.values()))
    proxy.delay_s = 0
    wait_for(lambda: Bookkeeper(store, sweep, proxy.url).close().missed == {})
    check_all_there_once(server.url, store, sweep)


def test_a_database_that_another_one_took_the_place_of_gets_all_sweeps_anew(tmp_path):
    store = write_trials(tmp_path / "store", 2, "one")
    write_trial(store, "two")
    url = f"sqlite:///{tmp_path / 'server.db'}"
    copy_empty_database(tmp_path / "server.db")
    for sweep in ("one", "two"):
        assert Bookkeeper(store, sweep, url).close().missed == {}
    copy_empty_database(tmp_path / "new.db")
    (tmp_path / "new.db").replace(tmp_path / "server.db")
    assert Bookkeeper(store, "two", url).close().missed == {}
    check_all_there_once(url, store, "one")
    assert len(runs(url, "two")) == 1


def test_a_trial_that_waited_has_the_time_at_which_it_started(tmp_path, server, sweep):
    store = StorePaths(tmp_path)
    write_trial(store, sweep, status="pending", started=None, ended=None, duration_s=None, rows=[])
    sender = Sender(store, server.url)
    sender.send_all(sweep, signatures(store))
    (run,) = runs(server.url, sweep)
    assert (run.info.status, run.info.end_time) == ("SCHEDULED", None)
    write_trial(store, sweep)
    sender.send_all(sweep, signatures(store))
    (run,) = runs(server.url, sweep)
    assert run.info.start_time == round(START.timestamp() * 1000)
    assert run.info.end_time == run.info.start_time + 3000
    sender.close()


def test_four_processes_of_two_sweeps_lose_and_double_nothing(tmp_path, server, sweep):
    names = [f"{sweep}-{number}" for number in range(2)]
    store = StorePaths(tmp_path)
    for name in names:
        write_trials(tmp_path, 3, name)
    books = [BookkeeperProcess(store, name, server.url) for name in names * 2]
    for position in range(3, 8):
        for number, keeper in enumerate(books):
            keeper.note(write_trial(store, names[number % 2], position=position).signature)
        time.sleep(0.2)
    closing = [threading.Thread(target=keeper.close) for keeper in books]
    for one in closing:
        one.start()
    for one in closing:
        one.join()
    for keeper in books:
        report = keeper.close()
        assert (report.trials, report.missed, report.problem) == (8, {}, None)
    for name in names:
        check_all_there_once(server.url, store, name)
        assert len(runs(server.url, name, ViewType.ALL)) == 8


@pytest.fixture(scope="module")
def postgres_uri(tmp_path_factory) -> str:
    if (reason := postgres_missing()) is not None:
        pytest.skip(reason)
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="nnray-postgres-"))  # every folder above pytest's is closed to other accounts
    folder.chmod(0o755)
    try:
        with postgres(folder / "server", password="pg-secret") as uri:
            yield uri
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_server_with_postgresql_behind_it(tmp_path, postgres_uri, sweep):
    server = Server(tmp_path / "server", postgres_uri).start()
    store = StorePaths(tmp_path / "store")
    odd = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "huge": 10**400}
    config = {"note": "nul \0, long " + "é" * 7000}
    try:
        write_trial(store, sweep, config=config, rows=[{**epoch_row(epoch, 0.5), **odd} for epoch in range(3)])
        write_trial(store, sweep, position=1, status="failed", error="it broke: \0, half a pair \ud800")
        write_trial(store, sweep, position=2, status="stopped", rows=[epoch_row(e, 0.5) for e in range(1)])
        assert Bookkeeper(store, sweep, server.url).close().missed == {}
        write_trial(store, sweep, position=2, attempts=2)
        assert Bookkeeper(store, sweep, server.url).close().missed == {}
        check_all_there_once(server.url, store, sweep)
        found = {run.data.tags["nnray.status"]: run for run in runs(server.url, sweep)}
        assert found["failed"].info.status == "FAILED"
        assert found["completed"].data.metrics.keys() >= {"val_acc", "val_loss"}
        # And through SQLAlchemy, without a server in between.
        assert Bookkeeper(store, sweep, postgres_uri).close().missed == {}
        check_all_there_once(server.url, store, sweep)
        assert len(runs(server.url, sweep)) == 3
    finally:
        server.kill()
    kept = [path for path in store.root.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"pg-secret" in path.read_bytes() or "pg-secret" in path.name]
