"""Parsed arguments as plain data, the form in which they are signed and stored."""

from __future__ import annotations

import json
import warnings
from typing import Any

import jsonargparse

from nnray.trial.class_paths import public_path_of

_FORMAT = "nnray_plain"
_NO_DATA = "Unable to serialize instance"  # what jsonargparse writes for it, with its address in memory behind
_LEFT_OUT = object()


def plain_arguments(parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace) -> str:
    """Return the arguments in ``parsed`` as JSON.

    A default that is no data (a lambda, a device, an object) is left out: it stays the class's own affair, and what it
    looks like in this process's memory enters no signature.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written, or that a tuple becomes a list
        return parser.dump(parsed, format=_FORMAT, skip_unset=False, skip_validation=True)


def _dump(data: Any) -> str:
    return json.dumps(_plain(data).get("init_args", {}))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        named = {key: _plain(entry) for key, entry in value.items()}
        if isinstance(named.get("class_path"), str):
            named["class_path"] = public_path_of(named["class_path"])
        return {key: entry for key, entry in named.items() if entry is not _LEFT_OUT}
    if isinstance(value, (list, tuple)):
        entries = [_plain(entry) for entry in value]
        return _LEFT_OUT if any(entry is _LEFT_OUT for entry in entries) else entries
    if isinstance(value, str):
        return _LEFT_OUT if value.startswith(_NO_DATA) else value
    return value if value is None or isinstance(value, (bool, int, float)) else _LEFT_OUT


jsonargparse.set_dumper(_FORMAT, _dump)
