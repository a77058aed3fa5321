"""Refuse bad arguments of architectures in one line."""

from __future__ import annotations

from nnray.errors import ConfigurationError


def check_at_least(minimum: int, **arguments: int) -> None:
    """Raise a ConfigurationError for the first argument that is not a whole number of at least `minimum`."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigurationError(f"{name} must be a whole number of at least {minimum}, not {value!r}")
