"""Amounts of storage as people write them: ``20GB``, ``1.5 GiB``."""

from __future__ import annotations

import math
import re

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)")


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means: a number and a unit, of which kB are thousands and KiB are 1024s.

    Raises:
        ValueError: If it is no such thing; a bare number, which may be meant as anything, is none, but for 0.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].upper() not in _UNITS:
        if text.strip() == "0":
            return 0
        raise ValueError(f"{text!r} is no size: give a number and a unit, as in 20GB, 20GiB or 500MB")
    return math.floor(float(match[1]) * _UNITS[match[2].upper()])


def size_text(size: int) -> str:
    """Return bytes for people, with three digits."""
    amount, units = float(size), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 999.4:
        amount /= 1000
        unit = next(units, "PB")
    return f"{size} B" if unit == "B" else f"{amount:.3g} {unit}"
