"""Refuse bad arguments of architectures in one line."""

from __future__ import annotations

from nnray.errors import ConfigurationError


def check_at_least(minimum: int, **arguments: int) -> None:
    """Raise a ConfigurationError for the first argument that is not a whole number of at least `minimum`."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigurationError(f"{name} must be a whole number of at least {minimum}, not {value!r}")


def check_probability(**arguments: float) -> None:
    """Raise a ConfigurationError for the first argument that is not a number from 0 up to, but not including, 1."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigurationError(f"{name} must be at least 0 and less than 1, not {value!r}")


def check_divides(name: str, divisor: int, of: str, number: int) -> None:
    """Raise a ConfigurationError unless the argument `name` divides the argument `of`."""
    if number % divisor:
        divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
        nearest = [*[d for d in divisors if d < divisor][-1:], *[d for d in divisors if d > divisor][:1]]
        raise ConfigurationError(
            f"{name} must divide {of} {number}, which {divisor} does not; nearest: {' and '.join(map(str, nearest))}"
        )
