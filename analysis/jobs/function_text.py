"""What a person's function computes, as text: another function, or other values in it, is another computation."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
from collections.abc import Callable
from typing import Any


def function_name(function: Callable[..., Any]) -> str:
    """Return a function's name with its module; a partial has that of its function, an object that of its class."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def function_text(function: Callable[..., Any]) -> str:
    """Return a function's source with its defaults, and what it takes from the function around it.

    Globals that it uses do not enter, nor does the text of functions that it calls.
    """
    if isinstance(function, functools.partial):
        given = [*function.args, *(part for item in sorted(function.keywords.items()) for part in item)]
        return "\n".join([function_text(function.func), *map(_value_text, given)])
    parts = [function_name(function)]
    try:
        parts = [inspect.getsource(function)]
    except (OSError, TypeError):  # typed into an interpreter, built in, or an object that can be called
        code = getattr(function, "__code__", None)
        parts += [_value_text(function)] if code is None else [code.co_code.hex(), repr(code.co_consts), *code.co_names]
    keywords = getattr(function, "__kwdefaults__", None) or {}
    values = [*(getattr(function, "__defaults__", None) or ()), *(keywords[key] for key in sorted(keywords))]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not yet there: a function that calls itself
            continue
    return "\n".join([*parts, *(_value_text(value) for value in values if value is not function)])


def _value_text(value: Any) -> str:
    if inspect.isfunction(value):
        try:
            return inspect.getsource(value)
        except (OSError, TypeError):
            return function_name(value)
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # whatever an object raises that cannot be pickled
        return type(value).__qualname__
