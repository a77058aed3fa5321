"""JSON out of a store, where anything may stand by now: read within bounds, and checked against declared types."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from nnray.store.files import read_at_most

LARGEST = 64 << 20
"""Bytes; a record holds a traceback and little else."""
DEEPEST = 100


def read_json(path: Path) -> Any:
    """Return what the file at ``path`` holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON in UTF-8, or larger or more deeply nested than any file of a store.
    """
    content = read_at_most(path, LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return parse_json(content.decode("utf-8"))


def parse_json(text: str) -> Any:
    """Return what ``text`` means; a key that stands twice is a ValueError, as everything else that is no JSON."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    return value


def check_types(cls: type, values: Mapping[str, Any]) -> None:
    """Raise TypeError if a value is not of the type that the dataclass ``cls`` declares for the field of its name."""
    hints = _hints(cls)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            text = repr(value)
            raise TypeError(f"{name} is {text if len(text) <= 80 else f'{text[:79]}…'}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        parts = (entry.values() if isinstance(entry, dict) else entry for entry in level)
        level = [part for entry in parts for part in entry if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value out of JSON is of a declared type; what is in collections is looked into."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is dict:
        return isinstance(value, dict) and all(_fits(entry, arguments[1]) for entry in value.values())
    if origin is list:
        return isinstance(value, list) and all(_fits(entry, arguments[0]) for entry in value)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(entry, arguments[0]) for entry in value)
    if hint in (int, float) and type(value) is int:
        return abs(value) < 2**63  # as tables have it
    return isinstance(value, hint) if hint in (str, datetime) else type(value) is hint
