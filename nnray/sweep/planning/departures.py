"""Trials that leave a sweep while another command works on it: that command is made to leave them, too."""

from __future__ import annotations

from collections.abc import Sequence

from nnray.errors import StoreError
from nnray.store.claim import claim_facts, is_claimed
from nnray.store.commands import running_commands
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

Folders = tuple[TrialPaths, ...]


def of_other_commands(store: StorePaths, sweep: str, departed: Sequence[TrialPaths]) -> tuple[Folders, Folders]:
    """Return which of the ``departed`` trials other commands are training for ``sweep``, and which they may yet train.

    Those commands look at a trial's place in the sweep before they start it and while they train it, so taking it off
    the list is all that it takes to stop them.
    """
    if not departed or not running_commands(store, sweep):
        return (), ()
    running = tuple(paths for paths in departed if _is_trained_for(paths, sweep))
    unfinished = (paths for paths in departed if paths not in running and not is_claimed(paths.claim))
    return running, tuple(paths for paths in unfinished if not _is_finished(paths))


def _is_trained_for(paths: TrialPaths, sweep: str) -> bool:
    return is_claimed(paths.claim) and claim_facts(paths.claim).get("sweep") == sweep


def _is_finished(paths: TrialPaths) -> bool:
    try:
        record = Record.read(paths.record)
    except StoreError:  # whatever became of it, it is no longer this sweep's
        return True
    return record is not None and record.status in ("completed", "stopped", "failed")
