"""Commands that run on a cluster: handed to its job server, followed from here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnray.errors import SpaceError

ADDRESS_HELP = "ask on a cluster, by its job server (http://HOST:8265)"


def add_address_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--address``, for commands that look at a store: they look at that of a cluster."""
    parser.add_argument("--address", metavar="URL", help=ADDRESS_HELP)


def runs_elsewhere(arguments: argparse.Namespace) -> bool:
    """Tell whether the command is to run on a cluster, by its job server.

    Raises:
        SpaceError: If a command that only looks is given the address of a cluster to join.
    """
    address = getattr(arguments, "address", None)
    if address is None or address.startswith(("http://", "https://")):
        return address is not None
    if arguments.words[0] != "sweep":
        raise SpaceError(f"--address {address} is not a job server, such as http://127.0.0.1:8265")
    return False


def submit_sweep(arguments: argparse.Namespace, name: str, files: list[Path]) -> int:
    """Let the cluster run ``nnray sweep``, and say how to follow it.

    Args:
        arguments: The command line.
        name: The sweep's.
        files: What the command reads; all must be in the current folder, which travels.
    """
    from nnray.sweep.cluster.submission import JobServer

    here = Path.cwd().resolve()
    for file in files:
        if not file.resolve().is_relative_to(here):
            raise SpaceError(
                f"{file} is not in the current folder, which travels to the cluster: start in one that holds it"
            )
    words = [_relative(word, here) for word in _without_address(arguments.words)]
    server = JobServer(arguments.address)
    job = server.submit(words, name, arguments.store, here)
    if arguments.dry_run:
        return server.follow(job)
    print(f"{name}: submitted to {arguments.address} as the job {job}; it goes on when this machine is gone")
    print(f"its output: nnray logs {job} -f --address {arguments.address}")
    print(f"its trials: nnray status {name} --address {arguments.address}")
    print(f"to stop it: nnray stop {name} --address {arguments.address}")
    return 0


def run_elsewhere(arguments: argparse.Namespace) -> int:
    """Run a command that looks at a store on the cluster and print what it prints; return its exit status."""
    from nnray.sweep.cluster.submission import JOB_PREFIX, JobServer

    server = JobServer(arguments.address)
    job = getattr(arguments, "trial", None)
    if job is not None and job.startswith(JOB_PREFIX):  # nnray logs JOB: the output of a sweep's own job
        if arguments.follow:
            return server.follow(job)
        sys.stdout.write(server.log(job))
        return 0
    words = _without_address(arguments.words)
    asked = server.submit(words, words[0], arguments.store)
    try:
        return server.follow(asked)
    except KeyboardInterrupt:
        server.stop(asked)
        raise


def _without_address(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip or word == "--address" or word.startswith("--address="):
            skip = word == "--address"
            continue
        kept.append(word)
    return kept


def _relative(word: str, folder: Path) -> str:
    """Return a file of the folder, named from the root on, by its place in the folder."""
    path = Path(word)
    if path.is_absolute() and path.resolve().is_relative_to(folder) and path.exists():
        return str(path.resolve().relative_to(folder))
    return word
