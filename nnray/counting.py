"""Numbers of things, as people write them."""

from __future__ import annotations


def counted(number: int, things: str) -> str:
    """Return ``"1 trial"`` or ``"3 trials"``: ``things`` is a plural that ends in an s."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"
