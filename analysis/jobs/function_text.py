"""What a person's function computes, as text: another function, or other values in it, is another computation."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

_OF_OTHERS = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_OURS = {"nnray", "analysis"}
"""Libraries: what they do is told by the versions that are recorded, not by their text."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def function_name(function: Callable[..., Any]) -> str:
    """Return a function's name with its module; a partial has that of its function, an object that of its class."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def function_text(function: Callable[..., Any]) -> str:
    """Return a function's source with the values that it holds, and the same of what it uses.

    That is: its defaults, what it takes from the function around it, and, of the globals that it names, functions and
    classes that are no library's, and constants (numbers, text, and tuples, lists, dicts and sets of them); then what
    those functions use in turn. Other globals (arrays, models, open files), what is read while it runs, methods that a
    class inherits and attributes of modules (``settings.WIDTH``) do not enter.
    """
    return "\n".join(_texts(function, set()))


def _texts(function: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(function, functools.partial):
        yield from _texts(function.func, seen)
        for value in (*function.args, *(part for item in sorted(function.keywords.items()) for part in item)):
            yield from _value_texts(value, seen)
        return
    if id(function) in seen:  # it calls itself, or what calls it
        return
    seen.add(id(function))
    code = getattr(function, "__code__", None)
    try:
        yield inspect.getsource(function)
        is_told = code is None or code.co_name != "<lambda>"  # whose source is its line, with all that is in there
    except (OSError, TypeError):  # typed into an interpreter, built in, or an object that can be called
        yield function_name(function)
        if code is None:
            yield _pickled(function)
        is_told = False
    if code is not None and not is_told:
        yield from _code_texts(code)
    keywords = getattr(function, "__kwdefaults__", None) or {}
    values = [*(getattr(function, "__defaults__", None) or ()), *(keywords[key] for key in sorted(keywords))]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not yet there: a function that calls itself
            continue
    for value in values:
        yield from _value_texts(value, seen)
    if code is not None:
        yield from _global_texts(code, function.__globals__, seen)


def _code_texts(code: CodeType) -> Iterator[str]:
    """Yield what a function does, where its source does not tell it."""
    yield code.co_code.hex()
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_texts(constant)
        else:
            yield _plain_text(constant)


def _global_texts(code: CodeType, globals_: dict[str, Any], seen: set[int]) -> Iterator[str]:
    """Yield what is known of the globals that code names; names of attributes that happen to be globals do no harm."""
    for name in sorted(set(_names(code)) & globals_.keys()):
        value = globals_[name]
        if _is_plain(value):
            yield f"{name} = {_plain_text(value)}"
        elif (inspect.isfunction(value) or inspect.isclass(value)) and not _is_of_a_library(value):
            yield from _texts(value, seen)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # functions and comprehensions in it
            yield from _names(constant)


def _value_texts(value: Any, seen: set[int]) -> Iterator[str]:
    if inspect.isfunction(value):
        yield from [function_name(value)] if _is_of_a_library(value) else _texts(value, seen)
    else:
        yield _pickled(value)


def _pickled(value: Any) -> str:
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # whatever an object raises that cannot be pickled
        return type(value).__qualname__


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.keys())) and all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _plain_text(value: Any) -> str:
    """Return what two processes write alike, in which sets are in different orders."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain_text(key)}: {_plain_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list | set | frozenset):
        parts = [_plain_text(item) for item in value]
        return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"
    return repr(value)


def _is_of_a_library(value: Any) -> bool:
    module = str(getattr(value, "__module__", None))
    if module.partition(".")[0] in _OURS:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:  # built in, or typed into an interpreter
        return module != "__main__"
    return any(Path(file).is_relative_to(folder) for folder in _OF_OTHERS)
