"""Arguments that are mere numbers, which need no parser once it is known what it makes of the others."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

_LARGEST = 1e300
"""Beyond it the parser is asked: not every integer is a float."""


def number_types(hints: Mapping[str, Any]) -> dict[str, type]:
    """Return the arguments, of those with the type hints given, that take any number of one type: float or int.

    ``torch.Tensor`` beside a float, as optimizers have it, changes nothing: no configuration holds a tensor.
    """
    found: dict[str, type] = {}
    for name, hint in hints.items():
        union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        members = set(typing.get_args(hint)) if union else {hint}
        (*kinds,) = (member for member in members if member is not types.NoneType and not _is_tensor(member))
        if len(kinds) == 1 and kinds[0] in (float, int):
            found[name] = kinds[0]
    return found


def plain_numbers(kinds: Mapping[str, type], given: Mapping[str, Any]) -> dict[str, float]:
    """Return those of the arguments ``given`` that are numbers of their type, brought to it (``1`` to ``1.0``)."""
    found: dict[str, float] = {}
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is int and type(value) is int:
            found[name] = value
        elif kind is float and type(value) in (float, int) and 0 < abs(value) < _LARGEST:
            # Zero is left to the parser: 0.0 and -0.0 are equal, but not the same to a signature.
            found[name] = float(value)
    return found


def _is_tensor(hint: Any) -> bool:
    return getattr(hint, "__module__", "") == "torch" and getattr(hint, "__name__", "") == "Tensor"
