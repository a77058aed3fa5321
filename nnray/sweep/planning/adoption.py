"""Trials that were trained before an option was added: found under the signature that they have today.

A new option changes the signature of every configuration that has it, although its default may be what the code always
did. A stored configuration is read again by today's parser, which fills the default in; if that is a trial of the
plan, the trial's folder is taken over instead of being trained anew.
"""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Iterable, Iterator
from typing import Any

from nnray.errors import ConfigurationError, StoreError
from nnray.store.claim import Claim, is_claimed
from nnray.store.files import move_folder, write_text
from nnray.store.links import check_links
from nnray.store.membership import trial_folders
from nnray.store.record import Record
from nnray.trial.config_file import with_checksum
from nnray.trial.configuration import Configuration, resolve
from nnray.trial.merging import read_configuration_file
from nnray.trial.paths import StorePaths, TrialPaths
from nnray.trial.signature import SHORT_SIGNATURE

_Outline = tuple[str, ...]
_CHECKPOINT_OPTIONS = re.compile(r"^checkpoint:\n(?: +.*\n)*", re.MULTILINE)


def find_adoptable(store: StorePaths, wanted: Iterable[Configuration], known: frozenset[str]) -> dict[str, TrialPaths]:
    """Return the folders, by today's signature, that hold ``wanted`` trials under a former one; nothing is written.

    Args:
        store: Where to look.
        wanted: Configurations that have no folder of their own.
        known: Signatures of the folders that need not be looked at.
    """
    folders = [paths for paths in trial_folders(store) if paths.signature not in known]
    configurations = {configuration.full_signature: configuration for configuration in wanted} if folders else {}
    found: dict[str, tuple[tuple[bool, bool], TrialPaths]] = {}
    for paths in _candidates(folders, configurations.values()):
        today = signature_today(paths)
        if today is None or today not in configurations or is_claimed(paths.claim):  # claimed: other code trains it now
            continue
        signature, worth = configurations[today].signature, _worth(paths)
        if worth is not None and (signature not in found or worth > found[signature][0]):
            found[signature] = worth, paths
    return {signature: paths for signature, (_, paths) in found.items()}


def signature_today(paths: TrialPaths) -> str | None:
    """Return all digits of the signature that a stored configuration has today, None if it cannot be resolved."""
    try:
        return resolve(read_configuration_file(paths.config)).full_signature
    except ConfigurationError:  # it names what is no longer there
        return None


def is_half_adopted(paths: TrialPaths, record: Record) -> bool:
    """Tell whether ``paths`` was taken over by a process that was killed before it had written the record."""
    if record.signature[:SHORT_SIGNATURE] == paths.signature:
        return False
    return (signature_today(paths) or "").startswith(paths.signature)


def adopt(source: TrialPaths, target: TrialPaths) -> bool:
    """Make the trial in ``source`` the one in ``target``, and return whether that was possible.

    The folder is renamed first: should the process be killed after that, the record's signature still tells what
    happened (:func:`is_half_adopted`), and calling this with ``target`` as both brings it to its end.
    """
    try:
        claim = Claim.acquire(source.claim)
    except FileNotFoundError:  # another command was faster
        return False
    if claim is None:
        return False
    with claim:
        if source != target:
            try:
                move_folder(source.folder, target.folder, last=target.record.name)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):  # as above, by a hair's breadth
                    return False
                raise
            claim.moved(target.claim)
        configuration = resolve(read_configuration_file(target.config))
        write_text(target.config, with_checksum(configuration.yaml()))
        record = Record.read(target.record)
        if record is not None:
            dataclasses.replace(record, signature=configuration.full_signature).write(target.record)
    return True


def _candidates(folders: Iterable[TrialPaths], wanted: Iterable[Configuration]) -> Iterator[TrialPaths]:
    """Yield the folders whose configuration could be a wanted one with keys that it doesn't know yet.

    To resolve a stored configuration takes a millisecond and a store holds many thousands, so most are told apart by
    their text.
    """
    shapes = {_shape(configuration): configuration for configuration in wanted}
    outlines = {_outline(configuration.yaml()) for configuration in shapes.values()}
    classes = [_class_names(outline) for outline in outlines]
    for paths in folders:
        try:
            outline = _outline(paths.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        # With all the keys of today its signature is that of its folder, and so not wanted.
        if outline not in outlines and any(_class_names(outline) <= names for names in classes):
            yield paths


def _shape(configuration: Configuration) -> tuple[Any, ...]:
    """Return what the outline of a configuration depends on, for much less than writing it as YAML."""
    flat = configuration.flat().items()
    return tuple(
        (key, str(value) if key.endswith("class_path") or isinstance(value, list) else None) for key, value in flat
    )


def _outline(text: str) -> _Outline:
    """Return the keys of a YAML file as nnray writes it, in order, and the classes that it names.

    Without the options of checkpoints: none of them enters a signature, so a new one makes no folder a candidate.
    """
    lines = (line.strip() for line in _CHECKPOINT_OPTIONS.sub("", text).splitlines() if ":" in line)
    return tuple(line if "class_path:" in line else line.partition(":")[0] for line in lines)


def _class_names(outline: _Outline) -> frozenset[str]:
    return frozenset(line.rpartition(".")[2] for line in outline if "class_path:" in line)


def _worth(paths: TrialPaths) -> tuple[bool, bool] | None:
    """Return what tells which of two folders of a trial is the better one; None for a damaged one, which is none."""
    try:
        record = Record.read(check_links(paths).record)
    except StoreError:
        return None
    return record is not None and record.status in ("completed", "stopped"), paths.resume.exists()
