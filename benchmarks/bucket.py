"""What commands cost on a store in a bucket: the requests that they send, and how long they take.

A store of many small trials is put into a bucket of moto's server, which runs beside it; each command then runs in this
process, and its requests are counted. ``keep up`` is what a sweep's bookkeeper does in the end: it looks whether any
trial's folder has changed since the tables were written. Beside them, in the same bucket: a plain recursive listing,
and a listing with one GET of each trial's record, one after the other (``one by one``).

    python benchmarks/bucket.py --json bucket.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnray.trial.paths import StorePaths

SWEEP = "many"
BUCKET = "nnray-benchmark"
COMMANDS = {
    "status": ["status", SWEEP],
    "results": ["results", SWEEP],
    "plan": ["sweep", "space.yaml", "--dry-run"],
    "rebuild": ["rebuild"],
    "gc": ["gc", "--dry-run"],
}
BASE: dict[str, Any] = {
    "model": {"class_path": "nnray.models.MLP", "init_args": {"width": 4}},
    "data": "nnray.data.Digits",
    "optimizer": "torch.optim.SGD",
    "trainer": {"max_epochs": 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--trials", type=int, default=200, help="number of trials (default: %(default)s)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds added to each request (default: %(default)s)")
    options = parser.parse_args()
    loads = [os.getloadavg()[0]]
    with _server() as environment, tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.update(environment)
        from nnray.cli.main import main as command
        from nnray.store.bookkeeper import Bookkeeper
        from nnray.store.files import path_of
        from nnray.store.files.bucket import filesystem

        filesystem().mkdir(BUCKET)
        store = f"s3://{BUCKET}/store"
        space = {"name": SWEEP, "base": BASE, "space": {"seed": {"grid": list(range(options.trials))}}}
        Path("space.yaml").write_text(json.dumps(space))
        write_store(store)
        with counted(options.delay) as requests:
            command(["rebuild", "--store", store])  # what is imported when it is first used, and the tables
            figures = {}
            for name, work in others(store).items():
                figures[name] = _measured(work, requests)
            figures["keep up"] = _measured(lambda: Bookkeeper(StorePaths(path_of(store)), SWEEP).close(), requests)
            for name, words in COMMANDS.items():
                figures[name] = _measured(lambda words=words: command([*words, "--store", store]), requests)
        loads.append(os.getloadavg()[0])
    for figure in figures.values():
        figure["requests_per_trial"] = figure["requests"] / options.trials
        figure["seconds_over_records"] = figure["seconds"] / figures["one by one"]["seconds"]
    for name, figure in figures.items():
        print(f"{name:12}", "  ".join(f"{key} {value:.4g}" for key, value in figure.items()), flush=True)
    if options.json:
        report = {
            "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
            "versions": {name: version(name) for name in ("s3fs", "moto")},
            "load_average": {"before": loads[0], "after": loads[-1]},
            "trials": options.trials,
            "delay_s": options.delay,
            "figures": figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def write_store(uri: str) -> None:
    """Write a folder per trial as a sweep leaves it, and copy all of them to the bucket."""
    import torch

    from nnray.space import load_sweep
    from nnray.store.files.bucket import filesystem
    from nnray.store.format import settle_format
    from nnray.store.metrics_log import write_rows
    from nnray.store.record import Record, now
    from nnray.store.weights import save_weights
    from nnray.sweep.planning.plan import make_plan

    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        settle_format(store.root, "leases")
        plan = make_plan(load_sweep(Path("space.yaml")), store, Path.cwd())
        plan.apply()
        for trial in plan.trials:
            rows = [{"epoch": epoch, "step": epoch, "time": time.time(), "val_acc": 0.5} for epoch in range(3)]
            write_rows(trial.paths.metrics, rows)
            for epoch in range(3):
                save_weights(trial.paths.checkpoint(epoch), {"weight": torch.zeros(4)})
            signature = trial.configuration.full_signature
            Record(signature, "completed", attempts=1, started=now(), ended=now(), duration_s=1.0).write(
                trial.paths.record
            )
        filesystem().put(folder, uri, recursive=True)


def others(uri: str) -> dict[str, Callable[[], Any]]:
    """Return what the commands are measured against."""
    from nnray.store.files.bucket import filesystem

    def listing() -> list[str]:
        return [key for key in filesystem().find(f"{uri}/trials") if key.endswith("/record.json")]

    def records() -> None:
        for key in listing():
            filesystem().cat_file(key, max_concurrency=1)

    return {"listing": listing, "one by one": records}


@contextlib.contextmanager
def counted(delay: float) -> Iterator[list[str]]:
    """Yield a list that every request is noted in, by its method."""
    import asyncio

    from nnray.store.files.patient_s3 import PatientS3

    requests: list[str] = []
    real = PatientS3._call_s3

    async def counting(self: Any, method: str, *arguments: Any, **named: Any) -> Any:
        requests.append(method)
        await asyncio.sleep(delay)
        return await real(self, method, *arguments, **named)

    PatientS3._call_s3 = counting  # type: ignore[method-assign]
    try:
        yield requests
    finally:
        PatientS3._call_s3 = real  # type: ignore[method-assign]


def _measured(work: Callable[[], Any], requests: list[str]) -> dict[str, float]:
    requests.clear()
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return {"requests": len(requests), "seconds": time.perf_counter() - begun}


@contextlib.contextmanager
def _server() -> Iterator[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
