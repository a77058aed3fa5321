"""Decide before acting: which trials a sweep has, and what there is left to do for each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnray.errors import NnrayError, SpaceError, StoreError
from nnray.space.sweep import Sweep
from nnray.store.claim import Claim, is_claimed
from nnray.store.files import write_text
from nnray.store.membership import Membership, members
from nnray.store.record import Record
from nnray.store.weights import kept_epochs
from nnray.trial.configuration import Configuration, resolve
from nnray.trial.merging import merge
from nnray.trial.name import trial_names
from nnray.trial.paths import StorePaths, TrialPaths

State = Literal["complete", "stopped", "failed", "running", "resume", "run"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a sweep and what the store knows of it.

    Attributes:
        configuration: Its resolved configuration.
        membership: Its name and place in the sweep.
        paths: Its folder, which may not exist yet.
        state: ``complete`` and ``stopped`` are done, ``failed`` has failed before, ``running`` is being trained by
            another command, ``resume`` has been started and ``run`` has not.
        record: What is recorded of it, None if nothing is.
    """

    configuration: Configuration
    membership: Membership
    paths: TrialPaths
    state: State
    record: Record | None

    @property
    def signature(self) -> str:
        """The short signature."""
        return self.configuration.signature


@dataclass(frozen=True)
class Plan:
    """What a command is about to do.

    Attributes:
        sweep: What was asked for.
        store: Where it is kept.
        trials: All trials, in the order of the sweep.
        departed: Folders of trials that the sweep listed and that are no longer in its space.
        retry_failed: Whether trials that failed before are trained again.
        retrain: Signatures of trials whose results are thrown away and that are trained anew.
    """

    sweep: Sweep
    store: StorePaths
    trials: tuple[PlannedTrial, ...]
    departed: tuple[TrialPaths, ...]
    retry_failed: bool = False
    retrain: frozenset[str] = frozenset()

    @property
    def todo(self) -> tuple[PlannedTrial, ...]:
        """The trials to train or wait for, those already started first."""
        states = ("resume", "running", "run", *(("failed",) if self.retry_failed else ()))
        wanted = [trial for trial in self.trials if trial.state in states or trial.signature in self.retrain]
        return tuple(sorted(wanted, key=lambda trial: trial.state != "resume"))

    def counts(self) -> Counter[State]:
        """Return how many trials are in each state."""
        return Counter(trial.state for trial in self.trials)

    def apply(self) -> None:
        """Write the folders of new trials, list the trials of the sweep and take departed ones off the list.

        Raises:
            StoreError: If the store cannot be written.
        """
        try:
            for trial in self.trials:
                enlist(trial.paths, trial.configuration, trial.membership, self.sweep.name)
                if trial.signature in self.retrain:
                    forget(trial.paths)
            for paths in self.departed:
                paths.membership(self.sweep.name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to the store {self.store.root}: {error.strerror}") from error


def enlist(paths: TrialPaths, configuration: Configuration, membership: Membership, sweep: str) -> None:
    """Make the trial's folder if there is none, and list the trial in ``sweep``."""
    if not paths.config.exists():
        paths.folder.mkdir(parents=True, exist_ok=True)
        write_text(paths.config, configuration.yaml())
    membership.write(paths, sweep)


def forget(paths: TrialPaths) -> None:
    """Throw a trial's results away, so that it will be trained anew; one that is being trained is left alone."""
    claim = Claim.acquire(paths.claim)
    if claim is None:
        return
    with claim:
        for path in (paths.record, paths.metrics, paths.resume, paths.log, *kept_epochs(paths).values()):
            path.unlink(missing_ok=True)


def make_plan(
    sweep: Sweep,
    store: StorePaths,
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
) -> Plan:
    """Return what there is to do; nothing is written.

    Args:
        sweep: What is asked for.
        store: Where results are kept.
        folder: Where the sweep's base file is looked up.
        settings: Dotted keys that are put over the base of every trial.
        retry_failed: Whether trials that failed before are to be trained again.

    Raises:
        ConfigurationError: If a trial's configuration is wrong.
        SpaceError: If there are no trials, or two are the same.
        StoreError: If the store's records are damaged or it cannot be written.
    """
    base = merge(sweep.base_configuration(folder), settings or {})
    configurations = [resolve(merge(base, overrides)) for overrides in _expanded(sweep)]
    if not configurations:
        raise SpaceError(f"the sweep {sweep.name} has no trials")
    names = trial_names([configuration.flat() for configuration in configurations])
    _refuse_duplicates(sweep, configurations)
    check_place(store)
    trials = tuple(
        planned(store, configuration, Membership(name, position, sweep.metric, sweep.mode))
        for position, (configuration, name) in enumerate(zip(configurations, names, strict=True))
    )
    signatures = {trial.signature for trial in trials}
    departed = tuple(paths for paths in members(store, sweep.name) if paths.signature not in signatures)
    return Plan(sweep, store, trials, departed, retry_failed)


def _expanded(sweep: Sweep) -> Iterable[Mapping[str, Any]]:
    try:
        return list(sweep.overrides())
    except NnrayError:
        raise
    except Exception as error:  # the person's own generator
        raise SpaceError(f"trials of the sweep {sweep.name}: {type(error).__name__}: {error}") from error


def _refuse_duplicates(sweep: Sweep, configurations: list[Configuration]) -> None:
    seen: dict[str, int] = {}
    for number, configuration in enumerate(configurations, start=1):
        first = seen.setdefault(configuration.full_signature, number)
        if first != number:
            raise SpaceError(
                f"trials {first} and {number} of the sweep {sweep.name} are the same ({configuration.signature}): "
                "their configurations differ in nothing that can change a result"
            )


def planned(store: StorePaths, configuration: Configuration, membership: Membership) -> PlannedTrial:
    """Return a trial with what the store knows of it; raise StoreError if that is damaged or another's."""
    paths = store.trial(configuration.signature)
    record = Record.read(paths.record)
    if record is not None and record.signature != configuration.full_signature:
        raise StoreError(
            f"{paths.folder} belongs to another configuration whose signature begins alike: "
            f"{record.signature} and {configuration.full_signature}"
        )
    return PlannedTrial(configuration, membership, paths, _state(paths, record), record)


def _state(paths: TrialPaths, record: Record | None) -> State:
    if record is None:
        return "running" if is_claimed(paths.claim) else "run"
    if record.status == "completed":
        return "complete"
    if record.status in ("stopped", "failed"):
        return record.status  # type: ignore[return-value]
    if is_claimed(paths.claim):
        return "running"
    return "resume" if paths.resume.exists() else "run"


def check_place(store: StorePaths) -> None:
    """Refuse a place that cannot become a store, without writing anything there."""
    place = next(parent for parent in (store.trials, *store.trials.parents) if parent.exists())
    if not place.is_dir():
        raise StoreError(f"{store.root} cannot be a store: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to the store {store.root}: no permission to write in {place}")
