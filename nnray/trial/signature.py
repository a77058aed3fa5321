"""A trial's identity: a hash of everything in its configuration that can change its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SHORT_SIGNATURE = 16
"""Hex digits of a signature that name a trial; its record holds all 64, so that a collision is noticed."""


def signature_of(signed: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex digits) of a configuration's signed part.

    ``signed`` is plain data (dicts, lists, str, int, float, bool, None). Keys are brought into one order, and Python
    writes a float as the shortest text that reads back as the same number, so the result is the same on every machine.
    """
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
