"""The first half of most jobs: a part per network, made where it is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from analysis.activations import Patterns, activations
from analysis.jobs.folder import JobFolder, part_key
from analysis.networks import Network, Networks
from analysis.pool import Actors, Pool, actors_of
from analysis.progress import with_progress
from analysis.stimuli import Stimuli
from nnray.errors import AnalysisError
from nnray.graph import GraphModule

Task = TypeVar("Task")

Failure = tuple[str, int, str | None, str]
"""What could not be done: trial, epoch, layer (None for all), and why."""

FORWARD_BATCH = 256
"""Images that a network is shown at once; the results do not depend on it beyond rounding."""


def some(networks: Networks) -> None:
    """Raise AnalysisError if there are no networks."""
    if not len(networks):
        raise AnalysisError("there are no networks: nothing is left of the table")


def part_of(folder: JobFolder, kind: str, network: Network, suffix: str) -> Path:
    """Return where a network's part lies."""
    return folder.part(kind, part_key(network.trial, network.epoch), suffix)


def make_missing(
    networks: Networks,
    folder: JobFolder,
    kind: str,
    suffix: str,
    make_work: Callable[..., Callable[[Network], Any]],
    shared: tuple[Any, ...],
    pool: Pool,
    images: int,
) -> list[Failure]:
    """Do the work of the networks whose part is missing, with a progress bar.

    Args:
        networks: The networks.
        folder: The job's folder, which is open.
        kind: The folder of the parts in it.
        suffix: Of the names of parts.
        make_work: Returns, from ``shared``, what makes a network's part: see :func:`analysis.pool.Pool`.
        shared: Large arguments.
        pool: What does the work.
        images: How many images a network is shown, for the rate in the progress bar.

    Returns:
        What failed. It has no part, so that the job tries it again when it is started again.
    """
    every = list(networks)
    failed = make_parts(
        every, lambda network: part_of(folder, kind, network, suffix), folder.name, make_work, shared, pool, images
    )
    return [(network.trial, network.epoch, None, error) for network, error in failed]


def make_parts(
    tasks: Sequence[Task],
    part: Callable[[Task], Path],
    what: str,
    make_work: Callable[..., Callable[[Task], Any]],
    shared: tuple[Any, ...],
    pool: Pool,
    images: int = 0,
) -> list[tuple[Task, str]]:
    """Do the tasks whose part is missing, with a progress bar.

    Args:
        tasks: Pieces of work, of which neighbours are done by the same worker, or at the same time.
        part: Tells where a task's part lies.
        what: Stands before the progress bar.
        make_work: Returns, from ``shared``, what makes a task's part.
        shared: Large arguments.
        pool: What does the work.
        images: How many images a task means, for the rate in the progress bar; 0 for no rate.

    Returns:
        The tasks that failed, with the reason.
    """
    missing = [task for task in tasks if not part(task).exists()]
    if not missing:
        return []
    results = pool.work_through(missing, make_work, shared)
    shown = with_progress(results, what, len(tasks), len(tasks) - len(missing), images)
    return [(done.task, done.error) for done in shown if done.error is not None]


def device_of(actors: Actors | int | None) -> str:
    """Return the device that a worker computes on."""
    return "cuda" if actors_of(actors).gpu else "cpu"


def finite_outputs(outputs: torch.Tensor) -> torch.Tensor:
    """Return a network's outputs, ``(n, classes)``.

    Raises:
        AnalysisError: If a value is not finite: the greatest one would say nothing.
    """
    bad = int((~torch.isfinite(outputs)).any(dim=1).sum())
    if bad:
        raise AnalysisError(f"the network's outputs for {bad} of {len(outputs)} images are not finite")
    return outputs


def all_activations(
    model: GraphModule, stimuli: Stimuli, patterns: Patterns, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return layers on all images at once, ``(n, ...)``, in main memory."""
    every: dict[str, torch.Tensor] = {}
    start = 0
    for images in stimuli.batches(FORWARD_BATCH, device):
        for name, values in activations(model, images, patterns).items():
            if name not in every:  # once and for all: to join batches in the end would take twice the memory
                every[name] = torch.empty(len(stimuli), *values.shape[1:], dtype=values.dtype)
            every[name][start : start + len(values)] = values
        start += len(images)
    return every
