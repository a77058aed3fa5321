"""Look whether the files of a trial are what was written, as far as they can tell; nothing is changed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import readable
from nnray.store.links import check_links
from nnray.store.membership import Membership, sweeps_of
from nnray.store.stored_trial import StoredTrial
from nnray.store.weights import kept_epochs, load_weights
from nnray.trial.paths import TrialPaths


def damages(paths: TrialPaths) -> Iterator[str]:
    """Yield a line about each file of a trial's folder that is damaged.

    The record, the configuration and the places in sweeps must be readable and of the right types, rows of metrics,
    weights and states to resume from must have the checksums that were written with them. A trial may run meanwhile.
    """
    try:
        check_links(paths)
    except StoreError as error:
        yield str(error)  # what lies behind a link out of the store is not looked at
        return
    for file, look in _looks(paths):
        try:
            look()
        except StoreError as error:
            if file.exists():  # a running trial replaces its files, and removes what it keeps no longer
                yield str(error)
    if not paths.config.exists() and (paths.record.exists() or sweeps_of(paths)):
        yield f"{paths.config} is missing"


def _looks(paths: TrialPaths) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Yield each file, and what reads it whole."""
    trial = StoredTrial(paths)
    yield paths.record, lambda: trial.record
    yield paths.config, lambda: trial.config
    yield paths.metrics, lambda: trial.rows
    for sweep in sweeps_of(paths):
        yield paths.membership(sweep), partial(Membership.read, paths, sweep)
    for checkpoint in kept_epochs(paths).values():
        yield checkpoint, partial(load_weights, checkpoint)
    for state in (paths.resume, paths.snapshot, paths.exploit_state):
        yield state, partial(_check_archive, state)


def _check_archive(path: Path) -> None:
    """Raise StoreError if PyTorch's file is not what was written: a zip archive, with a checksum per member."""
    try:
        with zipfile.ZipFile(readable(path)) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        return
    except ConnectionError:  # of an object store: it may well be whole
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if damaged is not None:
        raise StoreError(f"{path} is damaged: {damaged} is not what was saved (its checksum differs)")
