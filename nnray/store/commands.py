"""The commands that are working on a store: each holds a claim for as long as it lives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from nnray.store.claim import Claim, claim_facts, claim_owner, claims_in, forget_claim, is_claimed
from nnray.store.stop_request import StopRequest
from nnray.trial.paths import StorePaths

_SUFFIX = ".json"
_ABANDONED_S = 60.0
"""Age from which the lock's file of a command that does not run is removed: a younger one may be about to be locked."""


@dataclass(frozen=True)
class Command:
    """A command that trains the trials of a sweep.

    Attributes:
        path: Its claim in the store.
        sweep: What it works on.
    """

    path: Path
    sweep: str

    @classmethod
    def new(cls, store: StorePaths, sweep: str) -> Command:
        """Return a command that nobody knows of yet."""
        return cls(store.commands / f"{uuid4().hex[:16]}{_SUFFIX}", sweep)

    @property
    def requests(self) -> Path:
        """Where a request to stop it is put."""
        return self.path.with_suffix(".stop")

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return is_claimed(self.path)

    @property
    def stop_request(self) -> StopRequest | None:
        """The request to stop it, if somebody has made one."""
        return StopRequest.read(self.requests)

    @property
    def place(self) -> str:
        """Where it runs, for people: ``host, process 123``."""
        owner = claim_facts(self.path)
        return f"{owner.get('host', 'unknown host')}, process {owner.get('pid', 'unknown')}"

    def ask_to_stop(self) -> None:
        """Ask it to stop as on Ctrl-C."""
        StopRequest("interrupt", claim_owner(self.path) or "").write(self.requests)

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Let others find the command for as long as the block runs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self.path.parent)
        with Claim.acquire(self.path, sweep=self.sweep) or contextlib.nullcontext():
            try:
                yield
            finally:
                self.requests.unlink(missing_ok=True)
                forget_claim(self.path)


def running_commands(store: StorePaths, sweep: str | None = None) -> list[Command]:
    """Return the commands that are training trials, of ``sweep`` or, without a name, of any."""
    found = []
    for path in claims_in(store.commands, _SUFFIX):
        about = claim_facts(path).get("sweep")
        if type(about) is str and sweep in (None, about) and is_claimed(path):
            found.append(Command(path, about))
    return found


def _remove_abandoned(folder: Path) -> None:
    for path in claims_in(folder, _SUFFIX):
        if not is_claimed(path) and not _is_young(path):
            path.with_suffix(".stop").unlink(missing_ok=True)
            forget_claim(path)


def _is_young(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime < _ABANDONED_S
    return False  # a lease has no such file, and is held as soon as it is there
