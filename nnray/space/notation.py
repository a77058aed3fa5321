"""What varies, written without Python: in JSON and YAML files, and on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from nnray.errors import SpaceError
from nnray.space.distribution import DISTRIBUTIONS, Distribution
from nnray.space.grid import grid
from nnray.space.zipped import zipped
from nnray.trial.merging import parse_assignments, parse_value

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


def described_value(key: str, value: Any) -> Any:
    """Return what a value in a JSON or YAML space means: a list is a grid.

    So are ``{grid: [8, 16]}``; ``{zipped: [8, 16]}`` is paired with the other zipped keys (those of the same
    ``group``, if it has one), and ``{loguniform: [1e-4, 1e-1]}`` is the distribution of that name in Ray Tune.

    Raises:
        SpaceError: If it cannot be meant; the message names ``key``.
    """
    try:
        if isinstance(value, list):
            return grid(value) if value else _refuse_empty()
        if not isinstance(value, dict):
            return value
        if value.keys() in ({"zipped"}, {"zipped", "group"}):
            return zipped(_list("zipped", value["zipped"]), group=str(value.get("group", "")))
        if len(value) == 1:
            name, arguments = next(iter(value.items()))
            if name == "grid":
                return grid(_list(name, arguments))
            if name in DISTRIBUTIONS:
                return Distribution(name, tuple(_list(name, arguments)))
    except SpaceError as error:
        raise SpaceError(f"{key}: {error}") from error
    return value


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """Return what words ``key=value`` of a command line set: values are read as YAML, and a list is a grid."""
    return {key: described_value(f"--set: {key}", value) for key, value in parse_assignments(words).items()}


def parse_grids(words: Iterable[str]) -> dict[str, Any]:
    """Return the axes that words of a command line describe.

    ``lr=0.001,0.01`` lists values, each read as YAML; ``seed=0..4`` counts from 0 to 4, ``width=8..32..8`` in steps,
    and ``lr=loguniform(1e-4, 1e-1)`` is a distribution.

    Raises:
        SpaceError: If a word is of another form; the message names it.
    """
    axes: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise SpaceError(f"--grid: {word!r} is not of the form KEY=VALUE,VALUE,...")
        if key in axes:
            raise SpaceError(f"--grid: {key} is given twice; list its values in one, as in {key}=1,2")
        axes[key] = _parsed_axis(key, text)
    return axes


def _parsed_axis(key: str, text: str) -> Any:
    call = _CALL.fullmatch(text)
    if call:
        arguments = [parse_value(key, part) for part in _parts(call[2])]
        try:
            return Distribution(call[1], tuple(arguments))
        except SpaceError as error:
            raise SpaceError(f"--grid: {key}: {error}") from error
    values = [value for part in _parts(text) for value in _parsed_values(key, part)]
    if not values:
        raise SpaceError(f"--grid: {key} has no values: list some, as in {key}=1,2 or {key}=0..4")
    return grid(values)


def _parsed_values(key: str, text: str) -> list[Any]:
    if ".." not in text or text.strip()[:1] in ("'", '"', "[", "{"):
        return [parse_value(key, text)]
    try:
        first, last, *steps = (Decimal(bound) for bound in text.split(".."))
        (step,) = steps or [Decimal(1)]
        count = int((last - first) / step) + 1
    except (InvalidOperation, ValueError, ArithmeticError):
        return [parse_value(key, text)]  # text that has dots in it, as "../data"
    if count < 1:
        raise SpaceError(f"--grid: {key}: there is nothing in {text}")
    numbers = [first + step * index for index in range(count)]
    whole = all(number == number.to_integral_value() for number in (first, step)) and "." not in text.replace("..", "")
    return [int(number) if whole else float(number) for number in numbers]


def _parts(text: str) -> Iterator[str]:
    """Yield what stands between the commas of ``text`` that are in neither brackets nor quotes."""
    depth, quote, start = 0, "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    if text[start:].strip():
        yield text[start:]


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise SpaceError(f"{name}: a list is expected, not {value!r}")
    return value or _refuse_empty()


def _refuse_empty() -> Any:
    raise SpaceError("the list has no values; a value that is an empty list is written [[]]")
