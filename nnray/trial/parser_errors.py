"""jsonargparse's errors in one line: its messages span many and repeat themselves for every member of a union."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from nnray.errors import did_you_mean

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_DENIED = re.compile(r"Importing '([^']+)' is not allowed")
_VALUE = re.compile(r"(?:Given value|Got value): (.*)")
_TYPE = re.compile(r"Expected an? (?:<class '([^']+)'>|typing\.Literal\[(.*?)\]\.|(?!dot import path)([^.\n]+))")


def parser_error_line(prefix: str, message: str, given: Any, arguments_of: Callable[[str], Iterable[str]]) -> str:
    """Return the fact in an error message of jsonargparse, with its key in front.

    Args:
        prefix: The dotted key of what was parsed (``data.init_args``).
        message: What jsonargparse says of it.
        given: The value of the argument that is at fault, by which it is shown if the message means the whole of it.
        arguments_of: Returns the arguments that a class takes, given its path.
    """
    keys = _KEY.findall(message)
    key = ".".join([prefix, *keys[0].split(".")[1:], *keys[1:]] if keys else [prefix]).strip(".")
    fact = message.rpartition('Parser key "')[2]  # the innermost argument's
    if denied := _DENIED.search(message):
        return f"{key}: {denied[1]} is no class or function that a configuration may name"
    classes = _CLASS.findall(fact)
    if classes:
        return f"{key}: {_class_fact(classes[-1], fact, arguments_of)}"
    if mistaken := re.search(r"Import path (\S+) does not correspond to a subclass of (\w+)", fact):
        return f"{key}: {mistaken[1]} is not a subclass of {mistaken[2]}"
    values = _VALUE.findall(fact)
    value = repr(given) if values and values[0].strip() == str(given) else repr(values[0].strip()) if values else ""
    if mistaken := re.search(r"Not a valid subclass of (\w+)\. Got value", fact):
        return f"{key}: expected the class path of a {mistaken[1]}, got {value}"
    types = [_type_text(*match) for match in dict.fromkeys(_TYPE.findall(fact))]
    types = [text for text in types if text != "NoneType"]
    if types and values:
        return f"{key}: expected {' or '.join(types)}, got {value}"
    if mistaken := re.search(r"dot import path string: (.*)", fact):
        return f"{key}: expected a class path such as 'package.module.NAME', got {mistaken[1].strip()!r}"
    return f"{key}: {' '.join(message.split())}"


def _class_fact(path: str, fact: str, arguments_of: Callable[[str], Iterable[str]]) -> str:
    """Return what is wrong with a class that is given inside of an argument."""
    module, _, name = path.rpartition(".")
    if unknown := re.search(r"Option '([^']+)' is not accepted", fact):
        return f"{name} has no argument {unknown[1]!r}{did_you_mean(unknown[1], arguments_of(path))}"
    if missing := re.search(r"arguments are required: (.*)", fact):
        return f"{name} needs the argument {missing[1].strip()} and has no default for it"
    if re.search(r"module '[^']+' has no attribute", fact):
        return f"there is no {name!r} in {module}{did_you_mean(name, _classes_in(module))}"
    text = fact.partition(f"given class_path '{path}':")[2].partition("\n    - Expected a")[0]
    return f"cannot use {path}: {' '.join(text.split())}"


def _classes_in(module: str) -> list[str]:
    import importlib
    import inspect

    names = vars(importlib.import_module(module)).items()
    return [name for name, value in names if inspect.isclass(value) and not name.startswith("_")]


def _type_text(name: str, choices: str, other: str) -> str:
    return name.removeprefix("builtins.") or choices.replace(", ", " or ") or other.strip()
