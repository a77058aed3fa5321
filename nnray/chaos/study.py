"""What is trained in every episode, and what comes out of it where nothing goes wrong."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nnray.chaos.contents import TrialContents, contents_of
from nnray.chaos.file_operations import Meddling, operations_of
from nnray.chaos.launcher import Command, Launcher
from nnray.errors import SpaceError
from nnray.store.files import remove_tree
from nnray.trial.paths import StorePaths

_TIMEOUT_S = 600.0

_TINY: dict[str, Any] = {
    "name": "chaos",
    "base": {
        "model": {"class_path": "nnray.models.MLP", "init_args": {"width": 8, "depth": 1}},
        "data": {
            "class_path": "nnray.data.FakeData",
            "init_args": {"size": 64, "image_size": 4, "batch_size": 16, "in_channels": 1},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "trainer": {"max_epochs": 4},
    },
    "space": {"seed": [0, 1, 2]},
    "metric": "val_loss",
    "mode": "min",
}
"""Three trials that take a tenth of a second each."""

_LONGER = {"size": 3_000, "batch_size": 8}
"""Over the above: trials of about two seconds each, so that something can befall each on Ray."""


@dataclass(frozen=True)
class Study:
    """A search space and its result without faults.

    Attributes:
        space: The space's file.
        sweep: The sweep's name.
        trials: What its trials must be in the end, by short signature.
        duration_s: How long the command took.
        operations: What it did to files, in order (:mod:`nnray.chaos.file_operations`).
        bytes: The size of the store.
    """

    space: Path
    sweep: str
    trials: dict[str, TrialContents]
    duration_s: float
    operations: tuple[str, ...]
    bytes: int

    @property
    def epochs(self) -> int:
        """How many epochs all trials have."""
        return sum(len(trial.rows) for trial in self.trials.values())


def write_tiny_space(path: Path, longer: bool = False) -> Path:
    """Write a search space that takes a second, or with ``longer`` several, to ``path``."""
    space = copy.deepcopy(_TINY)
    if longer:
        space["base"]["data"]["init_args"] |= _LONGER
    path.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    return path


def study_of(launcher: Launcher, space: Path, folder: Path, place: Path) -> Study:
    """Train ``space`` without faults, in a store at ``place``; what is printed lies in ``folder``.

    Raises:
        SpaceError: If not every trial is completed then.
    """
    folder.mkdir(parents=True)
    store, journal = StorePaths(place / "store"), folder / "operations.txt"
    launcher.warm_up()
    started = time.monotonic()
    words = ["sweep", str(space), "--store", str(store.root), "--in-process", "--yes"]
    command = launcher.start(words, folder / "sweep.log", Meddling(store.root, "count", journal=journal))
    if command.wait(_TIMEOUT_S) is None:
        command.kill_session()
        raise SpaceError(f"{space} takes more than {_TIMEOUT_S:.0f} s: faults want a study of seconds")
    duration_s = time.monotonic() - started
    command.wait_for_session(_TIMEOUT_S)
    trials = contents_of(store)
    if command.status != 0 or any(trial.status != "completed" for trial in trials.values()):
        raise SpaceError(f"{space} cannot be trained without any fault: {_last_line(command)}")
    (sweep,) = {path.parent.name for path in store.tables.glob("*/trials.parquet")}
    size = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    remove_tree(store.root)
    return Study(space, sweep, trials, duration_s, tuple(operations_of(journal)), size)


def _last_line(command: Command) -> str:
    return next(reversed(command.output.strip().splitlines()), f"status {command.status}")
