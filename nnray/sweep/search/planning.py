"""Decide before acting: what a search has trained, and how much of it is left to ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnray.errors import ConfigurationError, SpaceError, StoreError
from nnray.space.resources import Resources
from nnray.space.sweep import Sweep
from nnray.store.links import check_links
from nnray.store.membership import Ask, Membership, members
from nnray.store.stored_trial import StoredTrial
from nnray.sweep.planning.adoption import signature_today
from nnray.sweep.planning.departures import of_other_commands
from nnray.sweep.planning.expansion import population_of, resources_of, with_workers
from nnray.sweep.planning.plan import Entry, Plan, check_place, planned_trials
from nnray.sweep.search.catalogue import describe, make_searcher, objectives_of
from nnray.sweep.search.objectives import Objectives
from nnray.sweep.search.searcher import Point, Searcher
from nnray.sweep.search.space import SearchSpace
from nnray.trial.configuration import Configuration, resolve
from nnray.trial.merging import merge
from nnray.trial.paths import StorePaths, TrialPaths


@dataclass(frozen=True)
class SearchPlan:
    """How the trials of a sweep are found that are not known yet.

    Attributes:
        sweep: What is asked for.
        title: What a person calls the searcher.
        searcher: Proposes points; it has not been asked yet.
        space: What varies.
        objectives: What is looked for.
        budget: How many trials there are to be in all.
        seed: Of everything random in the search.
        base: What all trials have in common, nested.
        settings: Dotted keys that win over all others.
        epochs: How long a trial mostly is, to tell how long the search will take.
        resources: What trials occupy, as far as that can be known before.
    """

    sweep: Sweep
    title: str
    searcher: Searcher
    space: SearchSpace
    objectives: Objectives
    budget: int
    seed: int
    base: Mapping[str, Any]
    settings: Mapping[str, Any]
    epochs: int = 0
    resources: frozenset[Resources] = frozenset()

    def configuration(self, point: Point) -> Configuration:
        """Return the configuration at ``point``; raises ConfigurationError if it is none."""
        configuration = resolve(merge(self.base, self.space.overrides(point), self.settings))
        return with_workers(configuration, resources_of(self.sweep, configuration, str(point)))


def make_search_plan(
    sweep: Sweep, store: StorePaths, folder: Path, settings: Mapping[str, Any], retry_failed: bool
) -> Plan:
    """Return what there is to do for a sweep with a searcher; nothing is written.

    Its trials are those that the store lists for it and that lie in its space, whoever proposed them.

    Raises:
        ConfigurationError: If a key or a value of the space cannot be meant.
        SpaceError: If there is no such searcher, or it cannot deal with the space.
        StoreError: If the store cannot be written, or a folder belongs to another configuration.
    """
    search = _search_plan(sweep, folder, settings)
    corners = [search.configuration(corner) for corner in search.space.corners()]
    if not callable(sweep.resources):
        search = replace(search, resources=frozenset({Resources.of(sweep.resources)}))
    if corners:
        kinds = frozenset(resources_of(sweep, corner, "at a corner of the space") for corner in corners)
        search = replace(search, epochs=corners[0].values["trainer"]["max_epochs"], resources=kinds)
    check_place(store)
    entries = []
    for paths in members(store, sweep.name):
        entry = _recognised(search, paths, sweep)
        if entry is not None:
            entries.append(entry)
    entries.sort(key=lambda entry: (entry.membership.position, entry.membership.name))
    trials = planned_trials(store, entries)
    here = {folder.signature for trial in trials for folder in (trial.paths, trial.former) if folder is not None}
    departed = tuple(paths for paths in members(store, sweep.name) if paths.signature not in here)
    stopping, withdrawn = of_other_commands(store, sweep.name, departed)
    return Plan(sweep, store, trials, departed, retry_failed, search=search, stopping=stopping, withdrawn=withdrawn)


def _search_plan(sweep: Sweep, folder: Path, settings: Mapping[str, Any]) -> SearchPlan:
    if sweep.num_samples is None:
        raise SpaceError("search: how many trials? give the sweep num_samples, as in num_samples=50")
    if sweep.replicates is not None:
        raise SpaceError("replicates: a search trains each of its points once; the seed can be varied as any other key")
    space = SearchSpace.of(sweep, folder, settings)
    objectives = objectives_of(sweep.search, sweep.metric, sweep.mode)
    budget = int(min(sweep.num_samples, space.size)) if space.axes else sweep.num_samples
    searcher = make_searcher(sweep.search, space.axes, objectives, budget, sweep.sample_seed)
    fixed = {key: value for key, value in settings.items() if key in space.constants}
    stated = Resources() if callable(sweep.resources) else Resources.of(sweep.resources)
    workers = {"workers": stated.workers} if stated.workers > 1 else {}
    base = merge(workers, sweep.base_configuration(folder), fixed)
    title = describe(sweep.search)
    population = population_of(sweep)
    if population is not None:
        fixed["source"] = " ".join(filter(None, (base.get("source"), population)))
    return SearchPlan(sweep, title, searcher, space, objectives, budget, sweep.sample_seed, base, fixed)


def _recognised(search: SearchPlan, paths: TrialPaths, sweep: Sweep) -> Entry | None:
    """Return a listed trial and its place if it is one of the search's space, None if it has left that."""
    try:
        membership = Membership.read(check_links(paths), sweep.name)
        assert membership is not None
        point = membership.asks[0].point if membership.asks else {}
        flat = StoredTrial(paths).flat_config
        known = search.space.recognised(point, flat)
        if known is None:
            return None
        configuration = search.configuration(known)
    except (StoreError, ConfigurationError):
        return None
    if configuration.signature != paths.signature and signature_today(paths) != configuration.full_signature:
        return None  # something else about it has changed: the base, or a constant
    asks = membership.asks
    if not asks or known.keys() != point.keys():
        asks = (Ask(None, dict(known)),)
    place = Membership(membership.name, membership.position, sweep.metric, sweep.mode, asks)
    return Entry(configuration, place, resources_of(sweep, configuration, membership.name))
