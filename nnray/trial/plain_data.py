"""Parsed arguments as plain data, the form in which they are signed and stored."""

from __future__ import annotations

import json
import numbers
import warnings
from collections.abc import Mapping
from typing import Any

import jsonargparse
from jsonargparse.typing import register_type

from nnray.errors import ConfigurationError
from nnray.trial.class_paths import public_path_of

_FORMAT = "nnray_plain"
_NO_DATA = "Unable to serialize instance"  # what jsonargparse writes for it, with its address in memory behind
_LEFT_OUT = object()

_Path = tuple[str | int, ...]


def plain_arguments(
    prefix: str, parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace, given: Mapping[str, Any]
) -> str:
    """Return the arguments in ``parsed`` as JSON.

    A default that is no data (a lambda, a device, an object) is left out: it stays the class's own affair, and what it
    looks like in this process's memory enters no signature. What was given is never left out.

    Args:
        prefix: The dotted key of the arguments, for error messages.
        parser: What they were parsed by.
        parsed: All arguments.
        given: Those that the configuration gives.

    Raises:
        ConfigurationError: If a given value is no data; the message names its key.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written, or that a tuple becomes a list
        text = parser.dump(parsed, format=_FORMAT, skip_unset=False, skip_validation=True)
    left_out: list[_Path] = []
    plain = _plain(json.loads(text), (), left_out)
    for path in (*left_out, *((name,) for name in given.keys() - plain.keys())):
        if _is_given(given, path):
            key = ".".join(str(part) for part in (prefix, *path) if part != "")
            raise ConfigurationError(
                f"{key}: the value given cannot be written as plain data, as a stored trial must be"
            )
    return json.dumps(plain)


def _dump(data: Any) -> str:
    return json.dumps(data.get("init_args", {}), default=lambda value: _NO_DATA)


def _plain(value: Any, path: _Path, left_out: list[_Path]) -> Any:
    if isinstance(value, dict):
        named = {key: _plain(entry, (*path, key), left_out) for key, entry in value.items()}
        if isinstance(named.get("class_path"), str):
            named["class_path"] = public_path_of(named["class_path"])
        return {key: entry for key, entry in named.items() if entry is not _LEFT_OUT}
    if isinstance(value, list):
        entries = [_plain(entry, (*path, index), left_out) for index, entry in enumerate(value)]
        return _LEFT_OUT if any(entry is _LEFT_OUT for entry in entries) else entries
    if isinstance(value, str) and value.startswith(_NO_DATA):
        left_out.append(path)
        return _LEFT_OUT
    return value


def _is_given(given: Any, path: _Path) -> bool:
    """Tell whether ``given``, in which a class may be written by its path or its arguments alone, has a value there."""
    if not path:
        return True
    if isinstance(given, Mapping):
        if path[0] in given:
            return _is_given(given[path[0]], path[1:])
        if path[0] == "dict_kwargs" and "init_args" in given:  # arguments that the class passes on
            return _is_given(given["init_args"], path[1:])
        return path[0] == "init_args" and "class_path" not in given and _is_given(given, path[1:])
    if isinstance(given, (list, tuple)) and isinstance(path[0], int):
        return path[0] < len(given) and _is_given(given[path[0]], path[1:])
    return path[0] != "init_args" or not isinstance(given, str)


def _is_number(value: Any, _: type) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _refuse(value: Any) -> Any:
    raise ValueError(f"Expected a number. Got value: {value}")


jsonargparse.set_dumper(_FORMAT, _dump)
# An abstract class, as torchvision's transforms annotate: jsonargparse would look for objects of subclasses of it.
register_type(numbers.Number, serializer=lambda value: value, deserializer=_refuse, type_check=_is_number)
