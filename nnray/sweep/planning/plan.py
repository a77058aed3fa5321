"""Decide before acting: which trials a sweep has, and what there is left to do for each."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nnray.errors import StoreError
from nnray.space.resources import Resources
from nnray.space.sweep import Sweep
from nnray.store.claim import Claim, is_claimed
from nnray.store.files import at_a_time, check_exclusive, check_reachable, is_local, seen_at_once, write_text
from nnray.store.format import read_format, settle_format
from nnray.store.links import check_links
from nnray.store.membership import Membership, folder_names, members
from nnray.store.record import Cause, Record
from nnray.store.weights import kept_epochs
from nnray.sweep.planning.adoption import adopt, find_adoptable, is_half_adopted
from nnray.sweep.planning.continuation import ShorterTrial, find_shorter, inherit
from nnray.sweep.planning.departures import of_other_commands
from nnray.sweep.planning.expansion import expand
from nnray.trial.config_file import with_checksum
from nnray.trial.configuration import Configuration
from nnray.trial.paths import StorePaths, TrialPaths

if TYPE_CHECKING:
    from nnray.sweep.search.planning import SearchPlan

State = Literal["complete", "stopped", "failed", "running", "resume", "run", "damaged"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial of a sweep and what the store knows of it.

    Attributes:
        configuration: Its resolved configuration.
        membership: Its name and place in the sweep.
        paths: Its folder, which may not exist yet.
        state: ``complete`` and ``stopped`` are done, ``failed`` has failed before, ``running`` is being trained by
            another command, ``resume`` has been started and ``run`` has not. What became of a ``damaged`` one cannot be
            told; it is left as it is.
        record: What is recorded of it, None if nothing is.
        former: The folder that holds it under a signature that it had before an option was added, if there is one; to
            be taken over (:mod:`nnray.sweep.planning.adoption`).
        resources: What it occupies while it is trained.
        shorter: A completed trial that is its beginning; what that has made is taken over if nothing is in the way
            (:mod:`nnray.sweep.planning.continuation`).
        damage: Why its folder cannot be read, in one line, for a damaged one.
    """

    configuration: Configuration
    membership: Membership
    paths: TrialPaths
    state: State
    record: Record | None
    former: TrialPaths | None = None
    resources: Resources = field(default_factory=Resources)
    shorter: ShorterTrial | None = None
    damage: str | None = None

    @property
    def continues(self) -> bool:
        """Whether it goes on from a shorter trial."""
        return self.shorter is not None and self.shorter.obstacle is None

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
        stopping: Those of the departed that another command is training for the sweep; it will leave them.
        withdrawn: Those of the departed that another command of the sweep would train later; it will not.
        retry_failed: Whether trials that failed before are trained again.
        retry_causes: Of which causes of failure; None for all.
        retrain: Signatures of trials whose results are thrown away and that are trained anew.
        notes: What a person should know of how the sweep became these trials, a line each.
        search: How the trials are found that are not known yet, if the sweep has a searcher.
    """

    sweep: Sweep
    store: StorePaths
    trials: tuple[PlannedTrial, ...]
    departed: tuple[TrialPaths, ...]
    retry_failed: bool = False
    retrain: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    search: SearchPlan | None = None
    stopping: tuple[TrialPaths, ...] = ()
    withdrawn: tuple[TrialPaths, ...] = ()
    retry_causes: frozenset[Cause] | None = None

    @property
    def total(self) -> int:
        """How many trials there are to be, those that a searcher will propose included."""
        return max(len(self.trials), self.search.budget if self.search is not None else 0)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to train, to wait for or to propose."""
        return not self.todo and len(self.trials) == self.total

    @property
    def todo(self) -> tuple[PlannedTrial, ...]:
        """The trials to train or wait for, those already started first."""
        states = ("resume", "running", "run")
        wanted = [
            trial
            for trial in self.trials
            if trial.state in states or self.is_retried(trial) or trial.signature in self.retrain
        ]
        return tuple(sorted(wanted, key=lambda trial: trial.state != "resume"))

    def is_retried(self, trial: PlannedTrial) -> bool:
        """Tell whether a trial that failed before is to be tried again."""
        cause = (trial.record.cause if trial.record else None) or "error"
        return trial.state == "failed" and self.retry_failed and (not self.retry_causes or cause in self.retry_causes)

    def counts(self) -> Counter[State]:
        """Return how many trials are in each state."""
        return Counter(trial.state for trial in self.trials)

    def apply(self) -> None:
        """Write the folders of new trials, list the trials of the sweep and take departed ones off the list.

        Raises:
            StoreError: If the store cannot be written.
        """
        settle_format(self.store.root)
        try:
            for _ in at_a_time(self.store.trials, self._apply_to, self.trials):
                pass
            for paths in self.departed:
                paths.membership(self.sweep.name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to the store {self.store.root}: {error.strerror}") from error

    def _apply_to(self, trial: PlannedTrial) -> None:
        if trial.damage is not None:
            return
        if trial.former is not None:
            adopt(trial.former, trial.paths)
        enlist(trial.paths, trial.configuration, trial.membership, self.sweep.name)
        if trial.signature in self.retrain:
            forget(trial.paths)
        elif trial.shorter is not None and trial.continues:
            inherit(trial.shorter, trial.paths, trial.configuration)


def enlist(paths: TrialPaths, configuration: Configuration, membership: Membership, sweep: str) -> None:
    """Make the trial's folder if there is none, and list the trial in ``sweep``."""
    if not paths.config.exists():
        paths.folder.mkdir(parents=True, exist_ok=True)
        write_text(paths.config, with_checksum(configuration.yaml()))
    membership.write(paths, sweep)


def forget(paths: TrialPaths) -> None:
    """Throw a trial's results away, so that it will be trained anew; one that is being trained is left alone."""
    check_links(paths)
    claim = Claim.acquire(paths.claim)
    if claim is None:
        return
    with claim:
        # Resume state and record first: what is left after a kill must not pass for the new training's.
        for path in (paths.resume, paths.record, paths.metrics, paths.log, *kept_epochs(paths).values()):
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
        settings: Dotted keys that win over all others; grids among them multiply the sweep.
        retry_failed: Whether trials that failed before are to be trained again.

    Raises:
        ConfigurationError: If a trial's configuration is wrong.
        SpaceError: If there are no trials, or the sweep's functions fail.
        StoreError: If the store cannot be written, or a folder belongs to another configuration.
    """
    if sweep.search is not None:
        from nnray.sweep.search.planning import make_search_plan  # which makes plans of this module

        return make_search_plan(sweep, store, folder, settings or {}, retry_failed)
    expansion = expand(sweep, folder, settings)
    check_place(store)
    places = (Membership(name, position, sweep.metric, sweep.mode) for position, name in enumerate(expansion.names))
    entries = map(Entry, expansion.configurations, places, expansion.resources)
    with seen_at_once(store.trials):
        trials = planned_trials(store, list(entries))
    if sweep.scheduler is not None:  # which would have had its say in the epochs that are taken over
        trials = tuple(dataclasses.replace(trial, shorter=None) for trial in trials)
    here = {folder.signature for trial in trials for folder in (trial.paths, trial.former) if folder is not None}
    departed = tuple(paths for paths in members(store, sweep.name) if paths.signature not in here)
    stopping, withdrawn = of_other_commands(store, sweep.name, departed)
    return Plan(
        sweep,
        store,
        trials,
        departed,
        retry_failed,
        notes=expansion.notes,
        stopping=stopping,
        withdrawn=withdrawn,
    )


def planned(
    store: StorePaths, configuration: Configuration, membership: Membership, resources: Resources | None = None
) -> PlannedTrial:
    """Return one trial with what the store knows of it: see :func:`planned_trials`."""
    return planned_trials(store, [Entry(configuration, membership, resources or Resources())])[0]


class Entry(NamedTuple):
    """A trial that is asked for, before it is looked up in the store."""

    configuration: Configuration
    membership: Membership
    resources: Resources = Resources()


def planned_trials(store: StorePaths, entries: Sequence[Entry]) -> tuple[PlannedTrial, ...]:
    """Return trials with what the store knows of them; nothing is written.

    Raises:
        StoreError: If a folder belongs to another configuration.
    """
    there = folder_names(store)  # in one go: to ask for each trial is slow on a network
    missing = [entry.configuration for entry in entries if entry.configuration.signature not in there]
    known = frozenset(entry.configuration.signature for entry in entries)
    former = find_adoptable(store, missing, known) if missing and not there <= known else {}

    def look_up(entry: Entry) -> PlannedTrial:
        return _planned(store, entry, there, former.get(entry.configuration.signature))

    trials = list(at_a_time(store.trials, look_up, entries))
    return _with_shorter(store, trials, there)


def _with_shorter(store: StorePaths, trials: list[PlannedTrial], there: frozenset[str]) -> tuple[PlannedTrial, ...]:
    """Return the trials with the shorter ones that are their beginnings."""
    new = [trial for trial in trials if trial.state == "run" and not (trial.record and trial.record.attempts)]
    if not new or not there:
        return tuple(trials)
    configurations = [trial.configuration for trial in trials if trial.former is None]
    shorter = find_shorter(store, [trial.configuration for trial in new], configurations, there)
    if not shorter:
        return tuple(trials)
    longer = {trial.signature for trial in new} & shorter.keys()
    return tuple(
        dataclasses.replace(trial, shorter=shorter[trial.signature]) if trial.signature in longer else trial
        for trial in trials
    )


def _planned(store: StorePaths, entry: Entry, there: frozenset[str], former: TrialPaths | None) -> PlannedTrial:
    configuration, membership, resources = entry
    paths = store.trial(configuration.signature)
    if former is None and configuration.signature not in there:
        return PlannedTrial(configuration, membership, paths, "run", None, None, resources)
    try:
        record = Record.read(check_links(former or paths).record)
    except StoreError as error:
        damage = " ".join(str(error).split())
        return PlannedTrial(configuration, membership, paths, "damaged", None, None, resources, damage=damage)
    if former is None and record is not None and record.signature != configuration.full_signature:
        if not is_half_adopted(paths, record):
            raise StoreError(
                f"{paths.folder} belongs to another configuration whose signature begins alike: "
                f"{record.signature} and {configuration.full_signature}"
            )
        former = paths
    state = _state(former or paths, record)
    return PlannedTrial(configuration, membership, paths, state, record, former, resources)


def _state(paths: TrialPaths, record: Record | None) -> State:
    if record is None:
        return "running" if is_claimed(paths.claim) else "run"
    if record.status == "completed":
        return "complete"
    if record.status == "stopped" or (record.status == "failed" and record.cause != "disk-full"):
        return record.status
    if is_claimed(paths.claim):
        return "running"
    return "resume" if paths.resume.exists() else "run"


def check_place(store: StorePaths) -> None:
    """Refuse a place that cannot become a store, without writing anything there."""
    if not is_local(store.root):
        check_reachable(store.root)
        check_exclusive(store.root)
        return
    place = next(parent for parent in (store.trials, *store.trials.parents) if parent.exists())
    if not place.is_dir():
        raise StoreError(f"{store.root} cannot be a store: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to the store {store.root}: no permission to write in {place}")
    read_format(store.root)
