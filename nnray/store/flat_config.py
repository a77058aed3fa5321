"""The configuration of a trial by dotted keys, quickly for the thousands of trials of a sweep that share most of it.

YAML takes a millisecond to parse. So a file of plain YAML is cut in front of each key of its first level, and what
stands between two cuts is parsed once for all trials in which it is the same.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any

import yaml

from nnray.store.files import read_bytes
from nnray.store.listed_trial import plain
from nnray.store.stored_trial import StoredTrial
from nnray.trial.config_file import without_checksum
from nnray.trial.merging import flatten
from nnray.trial.paths import TrialPaths
from nnray.trial.yaml_loader import load_yaml

_LARGEST = 1 << 15
"""Characters of a file that is cut; larger ones are left to the one who checks their size."""
_PLAIN = re.compile(r"(?:[A-Za-z_]\w*:(?: [^\n]*)?\n(?:[ -][^\n]*\n)*)+")
"""Keys at the beginning of lines, and lines that belong to them."""
_KEY = re.compile(r"(?m)^(?=[A-Za-z_])")
_BEYOND = re.compile(r"[&*\r\t\x85\u2028\u2029\ufeff]")
"""What may reach over a cut (anchors), or break lines where this module doesn't."""

FlatConfig = dict[str, Any]


def read_flat_config(paths: TrialPaths) -> FlatConfig:
    """Return the resolved configuration of a trial; lists and mappings as JSON.

    Raises:
        StoreError: It is missing, empty or damaged.
    """
    parts = _parts(paths)
    if parts is not None:
        return {key: value for part in parts for key, value in part}
    return dict(_flat(StoredTrial(paths).config))


def _parts(paths: TrialPaths) -> list[tuple[tuple[str, Any], ...]] | None:
    """Return the flat parts of a file of plain YAML, None if the file isn't that."""
    try:
        content = without_checksum(read_bytes(paths.config))
        text = "" if content is None else content.decode()
    except (OSError, UnicodeDecodeError):
        return None
    if len(text) > _LARGEST or _BEYOND.search(text) or not _PLAIN.fullmatch(text):
        return None
    texts = [part for part in _KEY.split(text) if part]
    names = [part.partition(":")[0] for part in texts]
    if len(set(names)) < len(names):
        return None
    parts = [part for text, name in zip(texts, names, strict=True) if (part := _part(text, name)) is not None]
    return parts if len(parts) == len(texts) else None


@lru_cache(maxsize=4096)
def _part(text: str, name: str) -> tuple[tuple[str, Any], ...] | None:
    """Return one key of the first level with all that belongs to it, flat; None if it cannot stand alone."""
    try:
        values = load_yaml(text)
    except yaml.YAMLError:
        return None
    return _flat(values) if isinstance(values, dict) and list(values) == [name] else None


def _flat(config: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a configuration by dotted keys; text that many trials share is kept once."""
    return tuple(
        (sys.intern(key), sys.intern(value) if type(value) is str else plain(value))
        for key, value in flatten(config).items()
    )
