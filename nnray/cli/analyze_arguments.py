"""Arguments of analyses from a shell: options of the command line, and ``--set`` for all that a function takes."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonargparse

from nnray.errors import AnalysisError, did_you_mean
from nnray.trial.parser_errors import parser_error_line

_OWN_OPTIONS = {
    "networks": "--sweep",
    "layers": "--layers",
    "measure": "--measure",
    "against": "--against",
    "data": "--data",
    "fit_data": "--fit-data",
    "actors": "--actors",
    "name": "--name",
}
"""Arguments that are no plain data, or that every analysis has."""


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given; what is left out has the function's own default."""
    return {name: value for name, value in options.items() if value is not None}


def with_set(function: Callable[..., Any], words: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an analysis: those of options, and those of ``--set NAME=VALUE``.

    Args:
        function: The analysis, whose annotations say what a value may be.
        words: What follows ``--set``.
        options: Arguments that options of the command line give.

    Raises:
        AnalysisError: If a word is no ``NAME=VALUE``, there is no such argument, it is given twice, or cannot have
            this value.
    """
    arguments = dict(options)
    for name, text in _assignments(words):
        if name in options:
            raise AnalysisError(f"{name} is given by an option and by --set: one is enough")
        arguments[name] = _typed(function, name, text)
    return arguments


def of_jobs(functions: Sequence[Callable[..., Any]], words: Sequence[str]) -> list[dict[str, Any]]:
    """Return further arguments of a file's functions: each gets those of ``--set`` that it takes.

    Raises:
        AnalysisError: As :func:`with_set` does, if no function takes one.
    """
    taken = [list(inspect.signature(function).parameters)[2:] for function in functions]
    found: list[dict[str, Any]] = [{} for _ in functions]
    for name, text in _assignments(words):
        if not any(name in names for names in taken):
            every = [one for names in taken for one in names if one != "shown"]
            raise AnalysisError(f"--set: no job takes {name!r}{did_you_mean(name, every)}")
        for function, names, own in zip(functions, taken, found, strict=True):
            if name in names:
                own[name] = _typed(function, name, text)
    return found


def names_in(text: str | None) -> list[str] | None:
    """Return the words between commas; None for no text."""
    return None if text is None else text.split(",")


def numbers_in(option: str, text: str | None) -> list[int] | None:
    """Return the whole numbers between commas; None for no text.

    Raises:
        AnalysisError: If there is something else.
    """
    try:
        return None if text is None else [int(word) for word in text.split(",")]
    except ValueError:
        raise AnalysisError(f"{option}: {text!r} is no list of whole numbers such as 2,4,8") from None


def plain(option: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``NAME=VALUE``: numbers and the like where they are, else text."""
    values = {}
    for name, text in _assignments(words, option):
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def _assignments(words: Sequence[str], option: str = "--set") -> list[tuple[str, str]]:
    found = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise AnalysisError(f"{option}: {word!r} is no NAME=VALUE")
        found[name.replace("-", "_")] = text
    return list(found.items())


def _typed(function: Callable[..., Any], name: str, text: str) -> Any:
    """Return a value as the function's annotation has it."""
    parameters = inspect.signature(function).parameters
    if name in _OWN_OPTIONS and name in parameters:
        raise AnalysisError(f"--set: {name} has an option of its own: {_OWN_OPTIONS[name]}")
    plain_ones = [one for one in parameters if one not in _OWN_OPTIONS and one != "shown"]
    if name not in plain_ones or parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
        raise AnalysisError(f"--set: {function.__name__} has no argument {name!r}{did_you_mean(name, plain_ones)}")
    hint = typing.get_type_hints(function).get(name, Any)
    parser = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_argument(f"--{name}", type=hint)
    try:
        return parser.parse_args([f"--{name}={text}"])[name]
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise AnalysisError(f"--set: {parser_error_line(name, str(error), text, lambda path: ())}") from None
