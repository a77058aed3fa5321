"""How the attempts at a trial ended that gave no result: noted in its record, by whoever learns of it."""

from __future__ import annotations

import dataclasses

from nnray.store.claim import Claim
from nnray.store.files import local_twin
from nnray.store.record import Record
from nnray.trial.paths import TrialPaths

INTERRUPTED = "interrupted"
"""An attempt that ended because somebody wished it to."""


def former_attempts(record: Record, paths: TrialPaths) -> list[str]:
    """Return how the attempts of ``record`` ended, its last one included, of which nothing may be noted yet."""
    if len(record.former_attempts) >= record.attempts:
        return record.former_attempts
    if record.status == "failed":
        last: str = record.cause or "error"
    elif record.status == "running":  # its process died without a word, unless compiled code crashed
        crash = local_twin(paths.crash)
        last = "error" if crash.exists() and crash.stat().st_size else "lost"
    else:
        last = INTERRUPTED
    return [*record.former_attempts, last]


def note_attempt(paths: TrialPaths, ended: str) -> None:
    """Note how the last attempt at a trial ended, so that it can be trained again; nothing if somebody trains it.

    Args:
        paths: The trial's folder.
        ended: A cause of failure, or ``INTERRUPTED``.
    """
    claim = Claim.acquire(paths.claim)
    if claim is None:
        return
    with claim:
        record = Record.read(paths.record)
        if record is None or not (record.status == "running" or (record.status == "failed" and record.cause == ended)):
            return  # nothing has begun, or another command has written more
        noted = [*record.former_attempts[: record.attempts - 1], ended]
        dataclasses.replace(record, status="pending", ended=None, cause=None, former_attempts=noted).write(paths.record)
