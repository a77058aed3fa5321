"""Which layers a request names: full names and globs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

from nnray.errors import GraphError, did_you_mean
from nnray.graph.architecture import GLOB_CHARACTERS


def select(patterns: str | Iterable[str], names: Sequence[str], inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the names that the patterns stand for.

    Args:
        patterns: Names and globs, or a single one. In a glob, `*` stands for any characters, dots included, `?` for one
            and `[ab]` for one of those listed; upper and lower case differ.
        names: The layers, in graph order; what globs are matched against.
        inputs: The inputs of the model, which only their own names stand for.

    Returns:
        Names in the order of the patterns, those of one glob in graph order, each once.

    Raises:
        GraphError: A pattern is not a string or stands for no layer.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(listed, Iterable):
        raise GraphError(f"expected a name, a glob or a list of them, not {patterns!r}")
    chosen: dict[str, None] = {}
    for pattern in listed:
        if not isinstance(pattern, str):
            raise GraphError(f"expected a name, a glob or a list of them; {pattern!r} is neither name nor glob")
        if GLOB_CHARACTERS.isdisjoint(pattern):
            check_name(pattern, names, inputs)
            chosen[pattern] = None
            continue
        matcher = re.compile(translate(pattern))  # fnmatchcase has a cache that torch.compile warns of
        matches = [name for name in names if matcher.match(name)]
        if not matches:
            raise GraphError(f"no layer matches {pattern!r}{did_you_mean(pattern, names)}")
        chosen.update(dict.fromkeys(matches))
    if not chosen:
        raise GraphError("at least one layer must be named")
    return tuple(chosen)


def check_name(name: str, names: Sequence[str], inputs: Sequence[str]) -> None:
    """Raise a GraphError with the nearest names unless `name` is a layer or an input of the model."""
    if not isinstance(name, str):
        raise GraphError(f"the name of a layer is a string, not {name!r}")
    if name in names or name in inputs:
        return
    if not GLOB_CHARACTERS.isdisjoint(name):
        raise GraphError(f"{name!r} is a glob, where one layer must be named")
    inside = [other for other in names if other.startswith(f"{name}.")]
    if inside:
        raise GraphError(f"{name!r} is not a layer but a nested dict of layers: its last one is {inside[-1]!r}")
    raise GraphError(f"there is no layer {name!r}{did_you_mean(name, [*inputs, *names])}")
