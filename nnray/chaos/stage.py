"""Where an episode plays: a store of its own, the commands that work on it, and a note of what was done to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from nnray.chaos.cluster import Cluster
from nnray.chaos.file_operations import Meddling
from nnray.chaos.launcher import Command, Launcher
from nnray.chaos.study import Study
from nnray.store.files import is_local
from nnray.store.membership import trial_folders
from nnray.store.metrics_log import read_rows
from nnray.trial.paths import StorePaths

TIMEOUT_S = 180.0
"""A command on a study of seconds that takes so long hangs."""
_EPOCH_S = 0.1
"""What an epoch and the keeping of its books take, about."""
_POLL_S = 0.005
_LOOK_S = 0.1


@dataclass
class Stage:
    """One episode's.

    Attributes:
        launcher: Starts commands.
        study: What is trained.
        folder: Where the commands' output lies.
        place: Where the store lies: in the same folder, or in an object store.
        random: Decides everything that chance decides.
        deeds: What was done to whom.
        kills: How many attempts at trials have been lost at most.
        cluster: The Ray cluster that trials run on; None for the process of the command.
        commands: Every command that was started.
        broken: What did not hold while it went wrong.
        damaged: The file that was damaged, relative to the store, if one was.
    """

    launcher: Launcher
    study: Study
    folder: Path
    place: Path
    random: Random
    cluster: Cluster | None = None
    deeds: list[str] = field(default_factory=list)
    kills: int = 0
    commands: list[Command] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    damaged: Path | None = None

    @property
    def store(self) -> StorePaths:
        """The store."""
        return StorePaths(self.place / "store")

    def sweep(self, *options: str, meddling: Meddling | None = None) -> Command:
        """Start ``nnray sweep`` on the store."""
        where = ["--in-process"] if self.cluster is None else ["--address", self.cluster.address]
        return self.start("sweep", str(self.study.space), *where, "--yes", *options, meddling=meddling)

    def start(self, *words: str, meddling: Meddling | None = None) -> Command:
        """Start any command on the store."""
        log = self.folder / f"{len(self.commands)}-{words[0]}.log"
        command = self.launcher.start([*words, "--store", str(self.store.root)], log, meddling)
        self.commands.append(command)
        return command

    def end_of(self, command: Command) -> int | None:
        """Wait for the end of ``command`` and return its exit status; one that hangs is killed, which is a finding."""
        status = command.wait(TIMEOUT_S)
        if status is None:
            command.kill_session()
            self.broken.append(f"{command.log.name}: nnray {command.words[0]} hangs")
        return status

    def end_or_wait_for_room(self, command: Command) -> None:
        """Wait until ``command`` has ended, or waits for room on a full disk."""
        deadline = time.monotonic() + TIMEOUT_S
        while "waits for room" not in command.output and time.monotonic() < deadline:
            if command.wait(_LOOK_S) is not None:
                return

    def note(self, deed: str, kills: int = 0) -> None:
        """Note what was done."""
        self.deeds.append(deed)
        self.kills += kills

    def reach_moment(self, command: Command) -> str:
        """Wait until ``command`` has come to a random moment of its work, or to its end; return which one it was.

        Moments are counted in epochs, not in seconds, so that they are the same ones on a machine that is busy.
        """
        before, total = self.epochs(), self.study.epochs
        epoch = self.random.randint(min(before, total), total)
        behind_s = self.random.uniform(0.0, self.study.duration_s if epoch == before else _EPOCH_S)
        deadline = time.monotonic() + TIMEOUT_S
        while self.epochs() < epoch and command.status is None and time.monotonic() < deadline:
            time.sleep(_POLL_S if is_local(self.place) else _LOOK_S)
        command.wait(behind_s)
        return f"{1000 * behind_s:.0f} ms behind epoch {epoch} of {total}"

    def share_left(self) -> float:
        """Return which part of the epochs is not recorded yet."""
        return 1.0 - self.epochs() / self.study.epochs

    def epochs(self) -> int:
        """Return how many epochs of all trials are recorded."""
        return sum(len(read_rows(paths.metrics)) for paths in trial_folders(self.store))
