"""One type per column: booleans, integers, floats or strings, whatever the values of single trials look like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

_INT64 = range(-(2**63), 2**63)


def infer_array(values: Sequence[Any], if_all_null: pa.DataType) -> pa.Array:
    """Return ``values`` as an array of the narrowest type that holds all of them.

    Integers beside floats make floats; types that don't mix, and lists and mappings, make strings (JSON). None is null
    and NaN stays NaN.

    Args:
        values: Plain data: bool, int, float, str, lists, dicts and None.
        if_all_null: The type of a column without any value.
    """
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values), if_all_null)
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        fits = all(value is None or value in _INT64 for value in values)
        return pa.array(values, pa.int64()) if fits else string_array(values)
    if kinds <= {int, float}:
        try:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        except OverflowError:
            pass
    return string_array(values)


def string_array(values: Sequence[Any]) -> pa.Array:
    """Return ``values`` as strings: text as it is, everything else as JSON."""
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate, which JSON can hold and UTF-8 cannot
        return pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())


def free_name(name: str, taken: Iterable[str], prefix: str = "metric/") -> str:
    """Return ``name``, with ``prefix`` in front as often as it takes to differ from the columns that are ``taken``."""
    taken = set(taken)
    while name in taken:
        name = prefix + name
    return name
