"""What the tests of several folders share."""

from __future__ import annotations

import os

# Before torch is imported anywhere, so that every process of a test run, Ray's workers included, keeps to one thread.
os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"})

from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from commands import forkserver
from object_store import ObjectStore

from nnray.trial.paths import StorePaths

TESTS = Path(__file__).parent

hypothesis.settings.register_profile("nnray", deadline=None)  # how long an example takes depends on the machine
hypothesis.settings.load_profile("nnray")


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """An empty store, in a folder whose name nobody would choose."""
    return StorePaths(tmp_path / "a store, with 'quotes'")


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3-compatible server for the whole test run, known to this process and to those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        server = ObjectStore()
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
        server.stop()


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    """The URI of an empty folder in a bucket of its own."""
    return object_store.bucket()


@pytest.fixture(scope="session")
def processes() -> BaseContext:
    """What makes fresh processes that have PyTorch and Lightning loaded."""
    return forkserver()


@pytest.fixture(scope="session")
def in_child(processes: BaseContext) -> Callable[..., int]:
    """Run a function in a fresh process; returns its exit code (-9 if killed)."""

    def run(function: Callable[..., Any], *arguments: Any) -> int:
        process = processes.Process(target=function, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode is not None, "the child hangs"
        return process.exitcode

    return run


@pytest.fixture(scope="session")
def ray_session(object_store: ObjectStore) -> Iterator[str]:
    """One Ray instance for the whole test run, whose workers know the object store; its address."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
