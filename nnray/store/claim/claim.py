"""Claims as everybody uses them: by the path alone, whichever way the store claims."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from nnray.store.claim.kind import ClaimKind, Holding
from nnray.store.claim.lease import Leases
from nnray.store.claim.lock import Locks
from nnray.store.format import claims_around
from nnray.store.json_files import parse_json

_KINDS: dict[str, ClaimKind] = {"locks": Locks(), "leases": Leases()}


class Claim:
    """The right to run a trial, held until :meth:`release` or the end of the process."""

    def __init__(self, holding: Holding, owner: str) -> None:
        self._holding = holding
        self.owner = owner
        """What the claim says of its holder: no two claims say the same."""

    @classmethod
    def acquire(cls, path: Path, **about: Any) -> Claim | None:
        """Return the claim at ``path``, or None if another process holds it.

        The folder of ``path`` must exist. The claim then says who holds it, and what ``about`` adds to that in plain
        data.

        Raises:
            StoreError: If the claim cannot be written.
        """
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), **about})
        holding = _kind(path).acquire(path, owner)
        return cls(holding, owner) if holding is not None else None

    def check(self) -> None:
        """Raise ClaimLostError if another process may have taken over; to be called before all that is written."""
        self._holding.check()

    def moved(self, path: Path) -> None:
        """Take note that the folder in which the claim lies was renamed, so that the claim is at ``path`` now."""
        self._holding.moved(path)

    def release(self) -> None:
        """Give the claim up; a second call does nothing."""
        self._holding.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_claimed(path: Path) -> bool:
    """Tell whether a living process holds the claim at ``path``; to ask, it is enough to be allowed to read.

    Raises:
        StoreError: If the claim cannot be read.
    """
    return _kind(path).is_claimed(path)


def claim_owner(path: Path) -> str | None:
    """Return what the claim at ``path`` says of the one who holds it, or held it last; None if there is no claim."""
    return _kind(path).owner(path)


def claim_facts(path: Path) -> dict[str, Any]:
    """Return what the claim at ``path`` says in plain data; nothing if there is none, or it is damaged."""
    try:
        facts = parse_json(claim_owner(path) or "{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def claims_in(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield the paths in ``folder`` that end in ``suffix`` and have a claim, held or not, in order."""
    yield from _kind(folder / suffix).listed(folder, suffix)


def forget_claim(path: Path) -> None:
    """Remove what is left of a claim that nobody holds, or that this process holds."""
    _kind(path).forget(path)


def exclusive(path: Path) -> AbstractContextManager[None]:
    """Wait for the claim at ``path`` and hold it: for short work that two commands must not do at once."""
    return _kind(path).exclusive(path)


def _kind(path: Path) -> ClaimKind:
    return _KINDS[claims_around(path)]
