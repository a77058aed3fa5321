"""What someone asks of a running trial or command: to stop, by a small file that it looks for now and then."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from nnray.store.files import write_text
from nnray.store.json_files import check_types, read_json

Verdict = Literal["stop", "interrupt"]


def _asker() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


@dataclass(frozen=True)
class StopRequest:
    """A wish that something that runs should end.

    Attributes:
        verdict: ``stop`` makes what a trial has so far its result, ``interrupt`` leaves it to be continued.
        addressee: The owner of the claim that is meant (:attr:`nnray.store.claim.Claim.owner`): whoever comes after it
            has not been asked.
        by: Who asks.
        when: Seconds since 1970.
    """

    verdict: Verdict
    addressee: str
    by: str = field(default_factory=_asker)
    when: float = field(default_factory=time.time)

    def write(self, path: Path) -> None:
        """Put the request at ``path``."""
        write_text(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> StopRequest | None:
        """Return the request at ``path``, or None if there is none that can be read."""
        try:
            values = read_json(path)
            check_types(cls, values)
            return cls(**values)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
