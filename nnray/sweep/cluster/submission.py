"""Hand a command to a cluster's job server, so that it runs there and goes on when this machine is gone.

The job server is that of Ray's dashboard (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/).
The source files of the current folder travel with the command; :mod:`nnray.sweep.snapshot.source_files` says which.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import SpaceError
from nnray.redaction import masked_command
from nnray.store.location import STORE_VARIABLE
from nnray.sweep.snapshot.source_files import source_files
from nnray.training.code import code_of, send_along

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

JOB_PREFIX = "nnray-"
_ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_LOOK_AGAIN_S = 0.3
_CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
_PREAMBLE = ("Running entrypoint for job ", "Runtime env is setting up.")
_NO_STORE = "is not set on the cluster: set it on its nodes, or give --store with a folder that all of them share"


@dataclass(frozen=True)
class JobServer:
    """The job server of a cluster.

    Attributes:
        address: ``http://host:port``.
    """

    address: str

    def submit(self, words: Sequence[str], name: str, store: str | None, folder: Path | None = None) -> str:
        """Let the cluster run ``nnray WORDS`` and return the job's name.

        Args:
            words: The command and its options.
            name: What the job's name begins with.
            store: What ``--store`` says in ``words``, if anything.
            folder: Its source files travel with the command; None for none.

        Raises:
            SpaceError: If nobody answers at the address, or refuses, the folder is too large, or there is a password in
                the command.
        """
        if store is not None and "://" not in store and not Path(store).is_absolute():
            raise SpaceError(f"--store {store}: the store is on the cluster, give its folder there from the root on")
        if masked_command(words) != shlex.join(words):
            raise SpaceError(
                "all who see the cluster see a job's command, so that it can hold no password or token: set it as "
                f"an environment variable on the cluster's nodes, for example ({masked_command(words)})"
            )
        command = f"nnray {shlex.join(words)}"
        if store is None:
            command = f': "${{{STORE_VARIABLE}:?{_NO_STORE}}}" && {command}'
        job = f"{JOB_PREFIX}{name}-{secrets.token_hex(3)}"
        with self._client() as client, _packed(folder) as package:
            environment = {"working_dir": str(package)} if package is not None else {}
            return client.submit_job(entrypoint=command, submission_id=job, runtime_env=environment)

    def follow(self, job: str) -> int:
        """Print what a job prints until it ends, and return its exit status.

        Raises:
            SpaceError: If there is no such job.
        """
        with self._client() as client:
            client.get_job_status(job)
            asyncio.run(_print_log(client, job))
            while (status := client.get_job_status(job)) not in _ENDED:
                time.sleep(_LOOK_AGAIN_S)
            return _exit_status(client, job, status)

    def log(self, job: str) -> str:
        """Return what a job has printed so far."""
        with self._client() as client:
            return _without_preamble(client.get_job_logs(job))

    def stop(self, job: str) -> None:
        """Stop a job; one that has ended is left alone."""
        with self._client() as client:
            client.stop_job(job)

    @contextmanager
    def _client(self) -> Iterator[JobSubmissionClient]:
        """Yield Ray's client; its errors become one line."""
        try:
            from ray.job_submission import JobSubmissionClient

            for chatty in _CHATTY:
                logging.getLogger(chatty).setLevel(logging.ERROR)
            yield JobSubmissionClient(self.address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SpaceError(f"the job server at {self.address}: {_fact(error)}") from error
        except ImportError as error:
            raise SpaceError(f"jobs need ray[default], which pip install 'nnray[cluster]' brings ({error})") from error


async def _print_log(client: Any, job: str) -> None:
    async for text in client.tail_job_logs(job):
        print(_without_preamble(text), end="", flush=True)


def _without_preamble(text: str) -> str:
    """Return what a job has printed without what Ray puts before it."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not any(words in line for words in _PREAMBLE))


def _exit_status(client: Any, job: str, status: str) -> int:
    code = client.get_job_info(job).driver_exit_code
    if code is not None:
        return code
    return 0 if status == "SUCCEEDED" else 1


def _fact(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:300]} ..." if len(text) > 300 else text


@contextmanager
def _packed(folder: Path | None) -> Iterator[Path | None]:
    """Yield a copy of the source files of ``folder`` alone."""
    if folder is None:
        yield None
        return
    found = source_files(folder)
    if not found.complete:
        raise SpaceError(f"{folder} holds too many files to travel to the cluster: start in the folder of the study")
    with tempfile.TemporaryDirectory(prefix="nnray-job-") as copy:
        for name in found.files:
            target = Path(copy, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, target)
        send_along(code_of(folder), Path(copy))
        yield Path(copy)
