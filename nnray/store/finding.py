"""Which trial a person means: by the first digits of its signature, or by its name in a sweep."""

from __future__ import annotations

from nnray.errors import StoreError, did_you_mean
from nnray.store.files import at_a_time
from nnray.store.links import check_links
from nnray.store.membership import Membership, members, sweeps_of, trial_folders
from nnray.trial.paths import StorePaths, TrialPaths
from nnray.trial.signature import SHORT_SIGNATURE

_MOST = 8


def find_trial(store: StorePaths, text: str) -> TrialPaths:
    """Return the folder of the trial that ``text`` means; it holds no link out of the store.

    Args:
        store: The store.
        text: The trial's signature, its first digits if no other trial begins so, or ``SWEEP/NAME``.

    Raises:
        StoreError: If there is no such trial, or more than one; the message names the nearest.
    """
    return check_links(_found(store, text))


def _found(store: StorePaths, text: str) -> TrialPaths:
    sweep, slash, name = text.partition("/")
    if slash:
        return _named(store, sweep, name)
    folder = store.trial(text[:SHORT_SIGNATURE])
    if len(text) >= SHORT_SIGNATURE and folder.folder.is_dir():
        return folder
    folders = {folder.signature: folder for folder in trial_folders(store)}
    found = [signature for signature in folders if text and signature.startswith(text)]
    if len(found) == 1:
        return folders[found[0]]
    if found:
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        candidates = ", ".join(_described(folders[signature]) for signature in found[:_MOST])
        raise StoreError(f"{text!r} is ambiguous: {candidates}{more}")
    raise StoreError(f"there is no trial {text!r} in {store.root}{did_you_mean(text, folders)}")


def _named(store: StorePaths, sweep: str, name: str) -> TrialPaths:
    names: dict[str, TrialPaths] = {}
    folders = list(members(store, sweep))
    for folder, membership in zip(
        folders, at_a_time(store.trials, lambda folder: Membership.read(folder, sweep), folders), strict=True
    ):
        if membership is not None:
            names[membership.name] = folder
    if name in names:
        return names[name]
    if not names:
        sweeps = {listed for folder in trial_folders(store) for listed in sweeps_of(folder)}
        raise StoreError(f"there is no sweep {sweep!r} in {store.root}{did_you_mean(sweep, sweeps)}")
    raise StoreError(f"there is no trial {name!r} in the sweep {sweep}{did_you_mean(name, names)}")


def _described(folder: TrialPaths) -> str:
    """Return the signature with the trial's name in the first sweep that lists it."""
    for sweep in sweeps_of(folder):
        try:
            membership = Membership.read(folder, sweep)
        except StoreError:
            continue
        if membership is not None:
            return f"{folder.signature} ({sweep}/{membership.name})"
    return folder.signature
