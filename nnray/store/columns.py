"""One type per column: booleans, integers, floats or strings, whatever the values of single trials look like.

Which type a column gets depends on all its values, and those of a trial are read long before the others are known. So
they are held without loss, as an array with the kinds of its values, and cast once the kinds of all are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["bool", "int", "float", "str", "large", "huge", "other"]
"""``large`` is added for integers beyond 64 bits, ``huge`` for those beyond floats; ``other``: lists, mappings, ..."""
Kinds = frozenset[Kind]

INT64 = range(-(2**63), 2**63)
"""The integers that a column of integers can hold."""

_KINDS: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "str"}
_TYPES: dict[Kind, pa.DataType] = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}


def infer_array(values: Sequence[Any], if_all_null: pa.DataType) -> pa.Array:
    """Return ``values`` as an array of the narrowest type that holds all of them.

    Integers beside floats make floats; types that don't mix, and lists and mappings, make strings (JSON). None is null
    and NaN stays NaN.

    Args:
        values: Plain data: bool, int, float, str, lists, dicts and None.
        if_all_null: The type of a column without any value.
    """
    kinds = kinds_of(values)
    return cast(held_array(values, kinds), common_type(kinds, if_all_null))


def kinds_of(values: Sequence[Any]) -> Kinds:
    """Return the kinds of ``values``; None has none."""
    types = set(map(type, values)) - {type(None)}
    kinds = {_KINDS.get(type_, "other") for type_ in types}
    if int in types:
        integers = [value for value in values if type(value) is int]
        smallest, largest = min(integers), max(integers)
        if smallest not in INT64 or largest not in INT64:
            kinds.add("large")
        try:
            float(smallest), float(largest)
        except OverflowError:
            kinds.add("huge")
    return frozenset(kinds)


def common_type(kinds: Kinds, if_all_null: pa.DataType) -> pa.DataType:
    """Return the narrowest type of a column whose values are of ``kinds``."""
    if not kinds:
        return if_all_null
    if len(kinds) > 1 and "float" in kinds and kinds <= {"int", "float", "large"}:
        return pa.float64()
    return _held_type(kinds)


def held_array(values: Sequence[Any], kinds: Kinds) -> pa.Array:
    """Return ``values``, which are of ``kinds``, as an array from which :func:`cast` makes any type they may get."""
    held = _held_type(kinds)
    return string_array(values) if held == pa.string() else pa.array(values, held)


def cast(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Return what :func:`held_array` made as ``dtype``, the common type of its kinds and others'."""
    if array.type == dtype:
        return array
    if array.type == pa.null():
        return pa.nulls(len(array), dtype)
    if array.type == pa.string():
        return pa.array([None if text is None else float(text) for text in array.to_pylist()], dtype)
    if array.type == pa.float64():  # Arrow writes some floats in another way than JSON
        return string_array(array.to_pylist())
    return array.cast(dtype, safe=False)  # floats may round integers


def _held_type(kinds: Kinds) -> pa.DataType:
    if not kinds:
        return pa.null()
    return _TYPES.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def string_array(values: Sequence[Any]) -> pa.Array:
    """Return ``values`` as strings: text as it is, everything else as JSON."""
    texts = [value if value is None or isinstance(value, str) else json_text(value) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate, which JSON can hold and UTF-8 cannot
        return pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())


def json_text(value: Any) -> str:
    """Return ``value`` as JSON, with text in the place of what JSON doesn't know."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # a key that is no text, or a list that holds itself: YAML can say such things
        return str(value)


def free_name(name: str, taken: Iterable[str], prefix: str = "metric/") -> str:
    """Return ``name``, with ``prefix`` in front as often as it takes to differ from the columns that are ``taken``."""
    taken = set(taken)
    while name in taken:
        name = prefix + name
    return name
