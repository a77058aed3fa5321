"""Which sweeps list a trial: a small file per sweep in the trial's folder, so that the folders alone tell it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nnray.errors import StoreError
from nnray.store import files
from nnray.store.files import remove_leftovers, write_text
from nnray.store.json_files import check_types, read_json
from nnray.store.links import check_links
from nnray.trial.paths import StorePaths, TrialPaths

_ABANDONED_S = 60.0
"""Age from which a half-written file is taken for that of a killed process: it is written in no time."""


@dataclass(frozen=True)
class Ask:
    """A point that a searcher proposed, and what it was told of it: what a search is continued from.

    Attributes:
        number: Counts the points of the search, from 0; None for a point that was not asked for.
        point: A value per key that the searcher varies.
        asked: Counts what was asked and told in the search, from 0; None for a point that was not asked for.
        told: The same count at the moment when the searcher was told of it; None while it was not.
        values: What it was told: a number per objective, or None for a failure.
    """

    number: int | None
    point: dict[str, Any]
    asked: int | None = None
    told: int | None = None
    values: list[float] | None = None


@dataclass(frozen=True)
class Membership:
    """A trial's place in a sweep.

    Attributes:
        name: What the trial is called there.
        position: Its place in the order of the sweep.
        metric: The metric that the sweep looks at, if it names one.
        mode: Whether a larger (``max``) or smaller (``min``) value of that metric is better.
        asks: When and as which points a searcher proposed it; none for a trial of a grid.
    """

    name: str
    position: int = 0
    metric: str | None = None
    mode: str | None = None
    asks: tuple[Ask, ...] = ()

    def write(self, paths: TrialPaths, sweep: str) -> None:
        """List the trial in ``sweep``; does nothing if it is listed so already.

        A damaged file is replaced: whoever lists the trial knows what was in it.
        """
        with contextlib.suppress(StoreError):
            if self.read(paths, sweep) == self:
                return
        check_links(paths)
        paths.memberships.mkdir(parents=True, exist_ok=True)
        remove_leftovers(paths.memberships, _ABANDONED_S)
        values = asdict(self)
        if not self.asks:
            del values["asks"]
        write_text(paths.membership(sweep), json.dumps(values) + "\n")

    @classmethod
    def read(cls, paths: TrialPaths, sweep: str) -> Membership | None:
        """Return the trial's place in ``sweep``, or None if that doesn't list it."""
        path = paths.membership(sweep)
        try:
            values = read_json(path)
            asks = tuple(Ask(**ask) for ask in values.get("asks", ()))
            for ask in asks:
                check_types(Ask, vars(ask))
            membership = cls(**values | {"asks": asks})
            check_types(cls, vars(membership))
            if membership.mode not in ("min", "max", None):
                raise ValueError(f"mode is {membership.mode!r}")
            return membership
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ConnectionError:  # of an object store: it may well be whole
            raise
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error


def members(store: StorePaths, sweep: str) -> Iterator[TrialPaths]:
    """Yield the folders of the trials that ``sweep`` lists, in no particular order."""
    found: Iterable[TrialPaths] = (folder for folder in trial_folders(store) if folder.membership(sweep).exists())
    if not files.is_local(store.root):
        with files.seen_at_once(store.trials):
            found = list(found)
    yield from found


def trial_folders(store: StorePaths) -> Iterator[TrialPaths]:
    """Yield the folder of every trial, in the order of signatures."""
    for name in sorted(folder_names(store)):
        yield store.trial(name)


def folder_names(store: StorePaths) -> frozenset[str]:
    """Return the names of all trials' folders, which are their short signatures, with one listing of the store."""
    return files.folder_names(store.trials)


def sweeps_of(paths: TrialPaths) -> list[str]:
    """Return the names of the sweeps that list the trial."""
    return sorted(path.stem for path in paths.memberships.glob("[!.]*.json"))
