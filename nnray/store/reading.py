"""Reads what a sweep's tables hold of a trial from its folder, and tells whether the folder has changed since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnray.errors import StoreError
from nnray.store.columns import INT64
from nnray.store.files import seen_at_once
from nnray.store.flat_config import read_flat_config
from nnray.store.links import check_links
from nnray.store.listed_trial import Checkpoints, ListedTrial, Metrics, Outcome, Stamp
from nnray.store.membership import Membership
from nnray.store.stored_trial import StoredTrial
from nnray.trial.paths import TrialPaths

_CONFIG = 2
"""The place of the configuration in a stamp."""


@dataclass(frozen=True)
class SweepTrial:
    """A trial and its place in a sweep, with all that its folder told at one moment."""

    sweep: str
    membership: Membership
    trial: StoredTrial

    @property
    def signature(self) -> str:
        """The trial's short signature."""
        return self.trial.paths.signature

    @property
    def flat_config(self) -> dict[str, Any]:
        """The resolved configuration by dotted keys."""
        return self.trial.flat_config


def stamp_of(paths: TrialPaths, sweep: str) -> Stamp:
    """Return what changes with the folder: a file that is replaced gets another inode, one that grows another size."""
    files = (paths.record, paths.metrics, paths.config, paths.membership(sweep), paths.checkpoints)
    return tuple(_stat(path) for path in files)


def read_folder(
    paths: TrialPaths, sweep: str, stamp: Stamp, known: ListedTrial | None = None
) -> tuple[ListedTrial | None, str | None]:
    """Return what the folder ``paths`` tells of a trial, or why it cannot be read; neither if it isn't listed.

    Args:
        paths: The trial's folder.
        sweep: The sweep's name.
        stamp: The folder's stamp, taken before.
        known: What the folder told before.
    """
    if known is not None and known.stamp[_CONFIG] != stamp[_CONFIG]:
        known = None
    try:
        return read_trial(paths, sweep, stamp, known), None
    except ConnectionError:  # of an object store: nothing is known of the folder, least of all that it is damaged
        raise
    except (StoreError, OSError) as error:
        return None, str(error)


def read_trial(
    paths: TrialPaths, sweep: str, stamp: Stamp | None = None, known: ListedTrial | None = None
) -> ListedTrial | None:
    """Return what tables hold of the trial in the folder ``paths``; None if ``sweep`` doesn't list it.

    Args:
        paths: The trial's folder.
        sweep: The sweep's name.
        stamp: The folder's stamp, if it has been taken.
        known: What the folder told before, where its configuration is still the same.

    Raises:
        StoreError: If a file of the folder is damaged; the message names it.
    """
    stamp = stamp or stamp_of(paths, sweep)
    found = read_sweep_trial(paths, sweep, with_config=False)
    if found is None:
        return None
    trial = found.trial
    rows = sorted(trial.rows, key=lambda row: row["epoch"])
    places = {row["epoch"]: place for place, row in enumerate(rows)}
    kept = [(entry["epoch"], entry["bytes"]) for entry in trial.checkpoints if entry["epoch"] in INT64]
    return ListedTrial(
        sweep=sweep,
        membership=replace(found.membership, asks=()),
        paths=paths,
        stamp=stamp,
        status=trial.status,
        outcome=Outcome(*(getattr(trial.record, name) for name in Outcome._fields)),
        flat_config=read_flat_config(paths) if known is None else known.flat_config,
        metrics=Metrics.of(rows, found.membership),
        checkpoints=Checkpoints.of(
            [epoch for epoch, _ in kept], [size for _, size in kept], [places.get(epoch, -1) for epoch, _ in kept]
        ),
    )


def read_sweep_trial(paths: TrialPaths, sweep: str, with_config: bool = True) -> SweepTrial | None:
    """Return all that the folder ``paths`` tells of a trial; None if ``sweep`` doesn't list it.

    Args:
        paths: The trial's folder.
        sweep: The sweep's name.
        with_config: Whether to read the configuration now, as everything else.

    Raises:
        StoreError: If a file of the folder is damaged; the message names it.
    """
    check_links(paths)
    membership = Membership.read(paths, sweep)
    if membership is None:
        return None
    trial = StoredTrial(paths)
    # The record comes first: where it says "completed", the rows and checkpoints read after it are all there.
    assert trial.status
    if with_config:
        assert trial.config
    assert trial.rows is not None
    with seen_at_once(paths.folder):
        assert trial.checkpoints is not None
    return SweepTrial(sweep, membership, trial)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except ConnectionError:
        raise
    except OSError:
        return (0, 0, 0)
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
