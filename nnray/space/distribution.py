"""Distributions that values are drawn from: Ray Tune's, and the same by name where there is no Python to make them.

A draw is a function of the sweep's seed, the key and the number of the sample alone. So a larger ``num_samples`` keeps
the first draws, another key changes none, and every point of the grid gets the same ones, which makes points comparable
sample by sample. NumPy's ``RandomState`` is used because its stream is frozen: draws stay the same for ever.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnray.errors import SpaceError, did_you_mean

if TYPE_CHECKING:
    from numpy.random import RandomState


@dataclass(frozen=True)
class Distribution:
    """One of Ray Tune's distributions by its name there; draws what ``ray.tune``'s own would, but needs no Ray.

    Args:
        name: ``uniform``, ``loguniform``, ``randint``, ``choice``, ...: see :data:`DISTRIBUTIONS`.
        arguments: What the function of that name in ``ray.tune`` takes, in order.

    Raises:
        SpaceError: If there is no such distribution, or it does not take such arguments.
    """

    name: str
    arguments: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Draw once, which shows whether the arguments are any."""
        import numpy as np

        if self.name not in DISTRIBUTIONS:
            raise SpaceError(f"there is no distribution {self.name!r}{did_you_mean(self.name, DISTRIBUTIONS)}")
        names = ", ".join(list(inspect.signature(DISTRIBUTIONS[self.name]).parameters)[1:])
        try:
            inspect.signature(DISTRIBUTIONS[self.name]).bind(None, *self.arguments)
        except TypeError as error:
            raise SpaceError(f"{self}: {self.name} takes ({names})") from error
        try:
            with np.errstate(all="ignore"):
                value = self.sample(random_state=_random("", "", 0))
            usable = not isinstance(value, float) or math.isfinite(value)
        except (ValueError, TypeError, ArithmeticError, IndexError):
            usable = False
        if not usable:
            raise SpaceError(f"{self}: nothing can be drawn from {self.name}({names}) with these arguments")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.arguments))})"

    def sample(self, config: Any = None, size: int = 1, random_state: RandomState | None = None) -> Any:
        """Return one draw; the arguments are those of Ray Tune's distributions, of which ``config`` is not used."""
        assert size == 1
        assert random_state is not None
        return DISTRIBUTIONS[self.name](random_state, *self.arguments)

    def is_function(self) -> bool:
        """Tell that draws don't depend on other keys, as Ray Tune's distributions do."""
        return False


def is_distribution(value: Any) -> bool:
    """Tell whether values are drawn from ``value``: a :class:`Distribution` or a ``Domain`` of Ray Tune."""
    return not isinstance(value, type) and callable(getattr(value, "sample", None)) and hasattr(value, "is_function")


def drawn(values: Mapping[str, Any], distributions: Mapping[str, str], seed: int, index: int) -> dict[str, Any]:
    """Return ``values`` with a draw in place of each distribution.

    Functions (``tune.sample_from``) come last, in their order: each is given the dotted keys and their values so far.
    The global generators of ``random`` and NumPy are seeded for the time of the call.

    Args:
        values: Dotted keys and values.
        distributions: Those keys that have a distribution, and how they are spelled in full, which decides the draw.
        seed: The sweep's ``sample_seed``.
        index: The number of the sample.

    Raises:
        SpaceError: If a distribution cannot be drawn from; the message names its key.
    """
    result = dict(values)
    functions = [key for key in distributions if values[key].is_function()]
    for key in functions:
        del result[key]  # which would show others an object instead of a value
    for key in (*(key for key in distributions if key not in functions), *functions):
        distribution, state = values[key], _random(seed, distributions[key], index)
        try:
            if key in functions:
                with _global_generators_seeded(int(state.randint(2**31))):
                    value = distribution.sample(config=dict(result))
            else:
                value = distribution.sample(random_state=state)
        except Exception as error:  # what the person's function raises, or the distribution's bounds don't allow
            fact = " ".join(f"{type(error).__name__}: {error}".split())
            raise SpaceError(f"{key}: cannot draw a value: {fact}") from error
        result[key] = value.item() if hasattr(value, "item") else value
    return {key: result[key] for key in values}


def _random(seed: object, key: str, index: int) -> RandomState:
    import numpy as np

    digest = hashlib.sha256(f"{seed}/{key}/{index}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest[:16], dtype="<u4"))


@contextmanager
def _global_generators_seeded(seed: int) -> Iterator[None]:
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _uniform(state: RandomState, lower: float, upper: float) -> float:
    if _finite(lower) > _finite(upper):
        raise ValueError(f"{lower} is above {upper}")
    return float(state.uniform(lower, upper))


def _loguniform(state: RandomState, lower: float, upper: float) -> float:
    import numpy as np

    # NumPy's functions, since Ray Tune's are them: another library's last bit may differ.
    return float(np.exp(_uniform(state, float(np.log(_positive(lower))), float(np.log(_positive(upper))))))


def _randn(state: RandomState, mean: float = 0.0, sd: float = 1.0) -> float:
    return float(state.normal(mean, sd))


def _randint(state: RandomState, lower: int, upper: int) -> int:
    return int(state.randint(_whole(lower), _whole(upper)))


def _lograndint(state: RandomState, lower: int, upper: int) -> int:
    return math.floor(_loguniform(state, _whole(lower), _whole(upper)))


def _choice(state: RandomState, *categories: Any) -> Any:
    return categories[int(state.choice(len(categories)))]


def _quniform(state: RandomState, lower: float, upper: float, q: float) -> float:
    return _rounded(_uniform(state, _multiple(lower, q), _multiple(upper, q)), q)


def _qloguniform(state: RandomState, lower: float, upper: float, q: float) -> float:
    return _rounded(_loguniform(state, _multiple(lower, q), _multiple(upper, q)), q)


def _qrandn(state: RandomState, mean: float, sd: float, q: float) -> float:
    return _rounded(_randn(state, mean, sd), q)


def _qrandint(state: RandomState, lower: int, upper: int, q: int = 1) -> int:
    return _randint(state, *_multiples(lower, upper, q)) * q


def _qlograndint(state: RandomState, lower: int, upper: int, q: int) -> int:
    return _lograndint(state, *_multiples(lower, upper, q)) * q


def _multiple(bound: float, q: float) -> float:
    """Return a bound that is a multiple of ``q``; as in Ray Tune, others are refused."""
    if not math.isclose(bound / q, round(bound / q)):
        raise ValueError(f"{bound} is not a multiple of {q}")
    return round(bound / q) * q


def _multiples(lower: int, upper: int, q: int) -> tuple[int, int]:
    """Return the range of whole multiples of ``q``: as in Ray Tune, ``upper`` belongs to it unless ``q`` is 1."""
    first, last = _inwards(lower, q, math.ceil), _inwards(upper, q, math.floor)
    return first, last + (_whole(q) != 1)


def _inwards(bound: float, q: float, rounding: Callable[[float], int]) -> int:
    nearest = round(_finite(bound) / q)
    return nearest if math.isclose(bound / q, nearest) else rounding(bound / q)


def _rounded(value: float, q: float) -> float:
    return round(value / q) * q


def _finite(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise ValueError(f"{number!r} is not a number")
    return number


def _positive(number: Any) -> float:
    if _finite(number) <= 0:
        raise ValueError(f"{number!r} is not positive")
    return number


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{number!r} is not a whole number")
    return number


DISTRIBUTIONS: dict[str, Callable[..., Any]] = {
    "uniform": _uniform,
    "quniform": _quniform,
    "loguniform": _loguniform,
    "qloguniform": _qloguniform,
    "randn": _randn,
    "qrandn": _qrandn,
    "randint": _randint,
    "qrandint": _qrandint,
    "lograndint": _lograndint,
    "qlograndint": _qlograndint,
    "choice": _choice,
}
"""The distributions by their names in ``ray.tune``, each a function of a generator and the arguments there (but
``choice``, whose categories are the arguments)."""
