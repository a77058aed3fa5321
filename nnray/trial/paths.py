"""Where everything of a store lies: every file name that outlives a process is spelled here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nnray.errors import StoreError

_SWEEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHECKPOINT = re.compile(r"epoch=(\d+)\.safetensors")


def check_sweep_name(name: str) -> str:
    """Return ``name`` if it can be the name of a sweep (and so of a folder), else raise StoreError."""
    if not _SWEEP_NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot name a sweep: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class TrialPaths:
    """The files of one trial's folder."""

    folder: Path

    @property
    def signature(self) -> str:
        """The trial's short signature, which is the folder's name."""
        return self.folder.name

    @property
    def store(self) -> StorePaths:
        """The store that the trial is kept in."""
        return StorePaths(self.folder.parents[1])

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def record(self) -> Path:
        """Status, times, attempts, host, versions, code and error of the trial."""
        return self.folder / "record.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per line and epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of kept weights."""
        return self.folder / "checkpoints"

    def checkpoint(self, epoch: int) -> Path:
        """The weights after ``epoch`` (counted from 0)."""
        return self.checkpoints / checkpoint_name(epoch)

    @property
    def resume(self) -> Path:
        """Everything that is needed to continue an unfinished trial."""
        return self.folder / "resume.ckpt"

    @property
    def snapshot(self) -> Path:
        """A former state of ``resume``, kept for other trials of a population to continue from."""
        return self.folder / "snapshot.ckpt"

    @property
    def exploit(self) -> Path:
        """The order to go on from another trial's state; gone once it is carried out."""
        return self.folder / "exploit.json"

    @property
    def exploit_state(self) -> Path:
        """The other trial's state."""
        return self.folder / "exploit.ckpt"

    @property
    def log(self) -> Path:
        """What the trial printed."""
        return self.folder / "log.txt"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files, if they were asked for."""
        return self.folder / "tensorboard"

    @property
    def claim(self) -> Path:
        """The file whose lock says that a process is running the trial."""
        return self.folder / "claim.lock"

    @property
    def stop(self) -> Path:
        """Where a request to end the running trial is put."""
        return self.folder / "stop.json"

    @property
    def crash(self) -> Path:
        """Where Python tells of a crash in compiled code, while the trial runs."""
        return self.folder / "crash.txt"

    @property
    def memberships(self) -> Path:
        """A file per sweep that lists this trial, named after the sweep."""
        return self.folder / "sweeps"

    def membership(self, sweep: str) -> Path:
        """The file that says that ``sweep`` lists this trial, and under which name."""
        return self.memberships / f"{sweep}.json"


def checkpoint_name(epoch: int) -> str:
    """Return the file name of the weights after ``epoch``."""
    return f"epoch={epoch:04d}.safetensors"


def checkpoint_epoch(path: Path) -> int | None:
    """Return the epoch in a checkpoint's file name, or None if the file is not a checkpoint."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match.group(1)) if match else None


@dataclass(frozen=True)
class StorePaths:
    """The folders of a store."""

    root: Path

    @property
    def trials(self) -> Path:
        """The folder of trial folders: the truth that every table is a view of."""
        return self.root / "trials"

    def trial(self, signature: str) -> TrialPaths:
        """The folder of one trial; ``signature`` is its short form."""
        return TrialPaths(self.trials / signature)

    def table(self, sweep: str, kind: str) -> Path:
        """A sweep's table; ``kind`` is ``trials``, ``metrics`` or ``checkpoints``."""
        return self.tables / sweep / f"{kind}.parquet"

    @property
    def tables(self) -> Path:
        """The folder of Parquet tables, one folder per sweep."""
        return self.root / "tables"

    def listing(self, sweep: str) -> Path:
        """What the folders of a sweep's trials said when they were last read; made anew where it is missing."""
        return self.tables / sweep / ".listing"

    def search_lock(self, sweep: str) -> Path:
        """The file whose lock says that a process searches for trials of a sweep."""
        return self.tables / sweep / "search.lock"

    def tensorboard(self, sweep: str) -> Path:
        """A folder of links to the event files of a sweep's trials, by the trials' names."""
        return self.root / "tensorboard" / sweep

    def code(self, name: str) -> Path:
        """A folder with what the code of trials differed from a commit by."""
        return self.root / "code" / name

    def packages(self, name: str) -> Path:
        """A list of installed packages that trials were trained with."""
        return self.root / "packages" / f"{name}.txt"

    @property
    def commands(self) -> Path:
        """A file per command that is training trials."""
        return self.root / "commands"

    @property
    def analysis(self) -> Path:
        """The folder of analyses, one folder each."""
        return self.root / "analysis"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's embedded tracking database."""
        return self.root / "mlflow.db"

    def mlflow_queue(self, place: str) -> Path:
        """The folder of what MLflow at ``place`` still misses, one folder per sweep."""
        return self.root / "mlflow-queue" / place

    def mlflow_sender(self, place: str) -> Path:
        """The file whose lock is held by the one process that writes to MLflow at ``place``."""
        return self.mlflow_queue(place) / "sender.lock"

    @property
    def mlflow_artifacts(self) -> Path:
        """Where MLflow's embedded default keeps artifacts."""
        return self.root / "mlartifacts"
