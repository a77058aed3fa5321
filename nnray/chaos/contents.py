"""What a store holds, in a form that can be compared with another store's: no times, no hosts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import StoreError
from nnray.store.files import readable
from nnray.store.membership import trial_folders
from nnray.store.metrics_log import read_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial.paths import StorePaths, TrialPaths

if TYPE_CHECKING:
    import pandas as pd

_LEASES = "claim.lock.leases"
TABLES = ("trials", "metrics", "checkpoints")


@dataclass(frozen=True)
class TrialContents:
    """A trial's folder.

    Attributes:
        status: What its record says, or why the folder cannot be read.
        attempts: How often a runner has started it.
        config: A digest of its configuration.
        rows: Its epochs with all metrics, in the order of the file.
        weights: A digest of each kept checkpoint, by epoch.
        files: The names of all files in the folder, but for leases, of which each runner leaves one.
    """

    status: str
    attempts: int
    config: str
    rows: tuple[tuple[tuple[str, Any], ...], ...]
    weights: dict[int, str]
    files: frozenset[str]

    @property
    def epochs(self) -> list[str]:
        """The epochs of the rows."""
        return [str(dict(row)["epoch"]) for row in self.rows]


Stamp = tuple[bytes, tuple[tuple[str, int, int], ...]]
"""A record's bytes, and name, inode and time of change of each checkpoint."""


def contents_of(store: StorePaths) -> dict[str, TrialContents]:
    """Return what the trials of ``store`` are, by short signature."""
    return {paths.signature: _trial(paths) for paths in trial_folders(store)}


def finished_trials(store: StorePaths) -> dict[str, Stamp]:
    """Return what must stay untouched from now on: the files of the trials that are completed."""
    return {
        paths.signature: stamp_of(paths)
        for paths in trial_folders(store)
        if (record := _record(paths)) is not None and record.status == "completed"
    }


def stamp_of(paths: TrialPaths) -> Stamp:
    """Return what changes when a finished trial is trained again."""
    stats = [(path.name, path.stat()) for path in kept_epochs(paths).values()]
    return paths.record.read_bytes(), tuple((name, stat.st_ino, stat.st_mtime_ns) for name, stat in stats)


def tables_of(store: StorePaths, sweep: str) -> dict[str, pd.DataFrame]:
    """Return the tables of a sweep as anybody reads them."""
    import pandas as pd

    return {kind: pd.read_parquet(readable(store.table(sweep, kind)), partitioning=None) for kind in TABLES}


def _trial(paths: TrialPaths) -> TrialContents:
    try:
        record = Record.read(paths.record)
    except StoreError as error:
        status, attempts = str(error), 0
    else:
        status, attempts = (record.status, record.attempts) if record else ("no record", 0)
    rows = tuple(
        tuple(sorted((key, repr(row[key])) for key in row if key != "time")) for row in read_rows(paths.metrics)
    )
    weights = {epoch: _digest(path) for epoch, path in kept_epochs(paths).items()}
    files = frozenset(str(path.relative_to(paths.folder)) for path in paths.folder.rglob("*") if path.is_file())
    files -= {name for name in files if name.startswith(_LEASES)}
    config = _digest(paths.config) if paths.config.exists() else "none"
    return TrialContents(status, attempts, config, rows, weights, files)


def _record(paths: TrialPaths) -> Record | None:
    try:
        return Record.read(paths.record)
    except StoreError:
        return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
