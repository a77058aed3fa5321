"""What it costs to keep a run in MLflow: nnray's mirror beside MLflow's own client, on SQLite and on a server.

Each side writes the same runs (``--runs``) with the same parameters, metrics, times and end status:

- ``nnray``: the trial folders are there; the mirror reads them, and its queue, and writes the runs in batches;
- ``log_batch``: MLflow's client with one batch a run, the most sparing way to use it;
- ``per epoch``: MLflow's client in the ordinary way, a call per epoch and one for the parameters.

The places are a SQLite database and an ``mlflow server`` on loopback with one behind it. The client is imported and
connected before the clock starts, on every side. Configurations are no artifacts on the client's sides, where nnray
writes them, too. Sides alternate from round to round.

    python benchmarks/mlflow_mirror.py --json mlflow_mirror.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from nnray.store.files import write_text
from nnray.store.membership import Membership
from nnray.store.metrics_log import write_rows
from nnray.store.mlflow.schema import QUIET, copy_empty_database
from nnray.store.mlflow.sender import Sender
from nnray.store.record import Record
from nnray.trial import StorePaths
from nnray.trial.signature import signature_of

METRICS = 5
PARAMETERS = 30
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs per side and round (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs per run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--places", default="sqlite,server", help="sqlite, server (default: both)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    os.environ.update(QUIET)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server must not outlive this process
    places = {name: measure(name, arguments) for name in arguments.places.split(",")}
    report = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("mlflow", "sqlalchemy")} | {"python": platform.python_version()},
        "load_average": os.getloadavg()[0],
        "runs": arguments.runs,
        "epochs": arguments.epochs,
        "places": places,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(place: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds per run of each side at ``place``, the median of the rounds, and their ratios to nnray's."""
    sides: dict[str, Callable[[str, StorePaths, str], float]] = {
        "nnray": mirror_of_nnray,
        "log_batch": client_with_batches,
        "per epoch": client_as_usual,
    }
    rounds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side, write in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                store = StorePaths(Path(folder) / "store")
                make_trials(store, arguments.runs, arguments.epochs)
                with _place(place, Path(folder)) as uri:
                    seconds = write(uri, store, f"round{number}")
            rounds[side].append(1000 * seconds / arguments.runs)
    median = {side: statistics.median(values) for side, values in rounds.items()}
    ratios = {side: value / median["nnray"] for side, value in median.items() if side != "nnray"}
    for side, value in median.items():
        beside = f"{ratios[side]:6.1f} times nnray" if side in ratios else ""
        print(f"{place:8} {side:10} {value:8.2f} ms a run {beside}")
    return {"ms_per_run": median, "rounds": rounds, "times_nnray": ratios}


def make_trials(store: StorePaths, count: int, epochs: int) -> None:
    """Write folders of completed trials of the sweep ``bench``."""
    for number in range(count):
        config = {"seed": number, "model": {f"option{index}": index for index in range(PARAMETERS - 1)}}
        signature = signature_of(config)
        paths = store.trial(signature[:16])
        paths.folder.mkdir(parents=True)
        write_text(paths.config, yaml.safe_dump(config))
        Membership(f"seed={number}", number, "metric0", "max").write(paths, "bench")
        times = [{"epoch": epoch, "step": 10 * epoch, "time": _time(epoch)} for epoch in range(epochs)]
        write_rows(paths.metrics, [row | _metrics(row["epoch"]) for row in times])
        Record(signature, "completed", attempts=1, started=START, ended=START + timedelta(seconds=epochs)).write(
            paths.record
        )


def mirror_of_nnray(uri: str, store: StorePaths, round_: str) -> float:
    """Mirror all trials of ``store``; return the seconds."""
    sender = Sender(store, uri)
    sender.send_all("bench", [])  # connects
    started = time.perf_counter()
    missed = sender.send_all("bench", [path.name for path in store.trials.iterdir()])
    seconds = time.perf_counter() - started
    sender.close()
    assert not missed, missed
    return seconds


def client_with_batches(uri: str, store: StorePaths, round_: str) -> float:
    """Write the same with MLflow's client, one batch a run; return the seconds."""
    from mlflow.entities import Metric, Param

    def write(client: Any, run_id: str, epochs: int) -> None:
        values = [
            Metric(key, value, round(1000 * _time(epoch)), epoch)
            for epoch in range(epochs)
            for key, value in _metrics(epoch).items()
        ]
        params = [Param(f"model.option{index}", str(index)) for index in range(PARAMETERS)]
        client.log_batch(run_id, values, params, [])

    return _with_client(uri, store, round_, write)


def client_as_usual(uri: str, store: StorePaths, round_: str) -> float:
    """Write the same with MLflow's client as people do, a call per epoch; return the seconds."""
    from mlflow.entities import Metric, Param

    def write(client: Any, run_id: str, epochs: int) -> None:
        client.log_batch(run_id, [], [Param(f"model.option{index}", str(index)) for index in range(PARAMETERS)], [])
        for epoch in range(epochs):
            stamp = round(1000 * _time(epoch))
            client.log_batch(run_id, [Metric(key, value, stamp, epoch) for key, value in _metrics(epoch).items()])

    return _with_client(uri, store, round_, write)


def _with_client(uri: str, store: StorePaths, round_: str, write: Callable[[Any, str, int], None]) -> float:
    from mlflow import MlflowClient

    trials = list(store.trials.iterdir())
    epochs = len((trials[0] / "metrics.jsonl").read_text().splitlines())
    client = MlflowClient(uri)
    experiment = client.create_experiment(round_)
    started = time.perf_counter()
    for trial in trials:
        run = client.create_run(experiment, round(1000 * START.timestamp()), {"trial": trial.name}, trial.name)
        write(client, run.info.run_id, epochs)
        client.set_terminated(run.info.run_id, "FINISHED")
    return time.perf_counter() - started


def _metrics(epoch: int) -> dict[str, float]:
    return {f"metric{index}": (epoch + 1) / (index + 2) for index in range(METRICS)}


def _time(epoch: int) -> float:
    return START.timestamp() + epoch


@contextmanager
def _place(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        # nnray's own database and the client's are the same file, each in a store of its own.
        (folder / "store").mkdir(exist_ok=True)
        copy_empty_database(folder / "store" / "mlflow.db")
        yield f"sqlite:///{folder / 'store' / 'mlflow.db'}"
        return
    copy_empty_database(folder / "server.db")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=folder,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
