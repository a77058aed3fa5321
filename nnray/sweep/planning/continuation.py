"""Longer trials that go on where shorter ones ended: found, and given what those have made.

A trial that differs from a completed one in nothing but a larger ``trainer.max_epochs`` begins with the very same
epochs, if nothing in it depends on how long it is going to be. Where that is known, and the shorter trial's last state
was kept, these epochs are taken over, so that all comes out as if it had been trained in one go. The longer trial is
a trial of its own, and the shorter one stays as it is.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nnray.errors import StoreError
from nnray.store.claim import Claim
from nnray.store.files import place_copy
from nnray.store.metrics_log import HYPER, Row, read_rows, write_rows
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.sweep.planning.length import dependence_on_length
from nnray.trial.configuration import Configuration
from nnray.trial.options import CheckpointOptions
from nnray.trial.paths import StorePaths, TrialPaths
from nnray.trial.signature import SHORT_SIGNATURE

_MAX_EPOCHS = re.compile(r"^\s+max_epochs: (\d+)\s*$", re.MULTILINE)
"""Cheaper than to read YAML, of which there may be thousands of files; other arguments of the name do no harm."""


@dataclass(frozen=True)
class ShorterTrial:
    """A completed trial that is the beginning of a longer one.

    Attributes:
        paths: Its folder.
        record: Its record.
        epochs: How long it is.
        obstacle: Why the longer one cannot go on from it, None if it can.
    """

    paths: TrialPaths
    record: Record
    epochs: int
    obstacle: str | None


def find_shorter(
    store: StorePaths, wanted: Iterable[Configuration], known: Iterable[Configuration], there: frozenset[str]
) -> dict[str, ShorterTrial]:
    """Return the shorter trials of ``wanted`` ones by the signature of the longer; nothing is written.

    Of several, the longest that can be continued is taken, or else the longest.

    Args:
        store: Where to look.
        wanted: Configurations of trials that have nothing of their own yet.
        known: Configurations whose files need not be read.
        there: The names of all folders in the store.
    """
    by_length = _by_length(store, known, there)
    found = {}
    for configuration in wanted if by_length else ():
        epochs = configuration.values["trainer"]["max_epochs"]
        candidates = []
        for length in sorted((length for length in by_length if length < epochs), reverse=True):
            shorter = _completed(store, _with_length(configuration, length), by_length[length])
            if shorter is not None:
                candidates.append(ShorterTrial(*shorter, length, _obstacle(configuration, shorter[0], length)))
        if candidates:
            usable = (candidate for candidate in candidates if candidate.obstacle is None)
            found[configuration.signature] = next(usable, candidates[0])
    return found


def inherit(shorter: ShorterTrial, target: TrialPaths, configuration: Configuration) -> bool:
    """Give the trial in ``target`` what ``shorter`` has made, and return whether that was possible.

    The state to continue from comes last: a process that is killed before leaves a trial that has not begun.
    """
    claim = Claim.acquire(target.claim)
    if claim is None:
        return False
    with claim:
        if target.resume.exists() or (Record.read(target.record) or Record("")).attempts:
            return False  # another command was faster
        rows = read_rows(shorter.paths.metrics)
        options = CheckpointOptions(**configuration.values["checkpoint"])
        try:
            target.checkpoints.mkdir(exist_ok=True)
            for epoch in kept_after(rows, options) or []:
                if shorter.paths.checkpoint(epoch).exists():
                    place_copy(shorter.paths.checkpoint(epoch), target.checkpoint(epoch))
            write_rows(target.metrics, rows)
            record = Record(configuration.full_signature, rows=len(rows), continued_from=shorter.record.signature)
            record.write(target.record)
            place_copy(shorter.paths.resume, target.resume)
        except FileNotFoundError:  # it is being thrown away; without a state everything here is trained anew
            return False
    return True


def kept_after(rows: list[Row], options: CheckpointOptions) -> list[int] | None:
    """Return the epochs whose weights a trial holds that has come so far and is going on, in order.

    A trial keeps its last epoch's weights in any case, but which epoch that is differs between a shorter and a longer
    one. None if the metric that tells the best epochs is missing.
    """
    due = {row["epoch"]: row for row in rows if options.is_due(row["epoch"])}
    if not due:
        return []
    if options.rule.kind != "top":
        return sorted(options.rule.chosen(list(due)))
    if any(options.monitor not in row for row in due.values()):
        return None
    values = {epoch: row[options.monitor] for epoch, row in due.items()}
    return sorted(options.rule.chosen(list(due), values, options.mode))


def _obstacle(configuration: Configuration, shorter: TrialPaths, epochs: int) -> str | None:
    dependence = dependence_on_length(configuration)
    if dependence is not None:
        return dependence
    if not shorter.resume.exists():
        return "their last state was not kept (checkpoint.keep_state)"
    rows = read_rows(shorter.metrics)
    options = CheckpointOptions(**configuration.values["checkpoint"])
    if any(name.startswith(HYPER) for row in rows for name in row):
        return "a scheduler changed their hyperparameters while they were trained"
    needed = kept_after(rows, options)
    if [row["epoch"] for row in rows] != list(range(epochs)) or needed is None:
        return "their metrics are incomplete"
    if options.keep != "last" and not set(needed) <= kept_epochs(shorter).keys():
        return "they kept other checkpoints than the longer ones are to keep"
    return None


def _by_length(store: StorePaths, known: Iterable[Configuration], there: frozenset[str]) -> dict[int, set[str]]:
    by_length: dict[int, set[str]] = defaultdict(set)
    unread = set(there)
    for configuration in known:
        if configuration.signature in unread:
            unread.remove(configuration.signature)
            by_length[configuration.values["trainer"]["max_epochs"]].add(configuration.signature)
    for signature in unread:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for length in _MAX_EPOCHS.findall(store.trial(signature).config.read_text(encoding="utf-8")):
                by_length[int(length)].add(signature)
    return by_length


def _with_length(configuration: Configuration, epochs: int) -> Configuration:
    trainer: dict[str, Any] = {**configuration.values["trainer"], "max_epochs": epochs}
    return Configuration({**configuration.values, "trainer": trainer}, configuration.unsigned)


def _completed(store: StorePaths, configuration: Configuration, there: set[str]) -> tuple[TrialPaths, Record] | None:
    signature = configuration.full_signature
    if signature[:SHORT_SIGNATURE] not in there:
        return None
    paths = store.trial(signature[:SHORT_SIGNATURE])
    try:
        record = Record.read(paths.record)
    except StoreError:
        return None
    if record is None or record.status != "completed" or record.signature != signature:
        return None
    return paths, record
