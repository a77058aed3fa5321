"""The points of one dict of dotted keys: the product of its grids, with zipped keys in step."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnray.errors import SpaceError
from nnray.space.distribution import is_distribution
from nnray.space.grid import Grid
from nnray.space.zipped import Zipped
from nnray.trial.merging import full_key

_KEY = re.compile(r"[^\s.=]+(\.[^\s.=]+)*")

Factor = tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]
"""Keys that vary together, and the values of all of them at each step."""


def is_axis(value: Any) -> bool:
    """Tell whether ``value`` stands for several values."""
    return isinstance(value, (Grid, Zipped)) or is_distribution(value)


def points(where: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the points that ``values`` spans, in order: the last key varies fastest; distributions stay in them.

    A grid (and a distribution) may also stand inside of a mapping, and a mapping with grids inside of a grid, which so
    varies what only that value has: ``{"model": grid({"class_path": "MLP", "init_args": {"width": grid(8, 16)}},
    "ResNet9")}`` has three points.

    Raises:
        SpaceError: If ``values`` are no dotted keys, or zipped keys have different numbers of values; the message
            begins with ``where``.
    """
    common, axes = factors(where, values)
    keys = [key for names, _ in axes for key in names]
    for steps in itertools.product(*(steps for _, steps in axes)):
        point = {**common, **dict(zip(keys, itertools.chain.from_iterable(steps), strict=True))}
        if any(_has_inner_axes(value) for step in steps for value in step):
            yield from points(where, point)
        else:
            yield point


def factors(where: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Factor]]:
    """Return what all points have in common, distributions included, and the factors that the others multiply.

    Grids inside of a grid's values are still there. The arguments and errors are those of :func:`points`.
    """
    values = _with_inner_axes_as_keys(where, values)
    common = {key: value for key, value in values.items() if not isinstance(value, (Grid, Zipped))}
    return common, _factors(where, values)


def distributions_in(point: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of a point that have a distribution, and how each is spelled in full."""
    return {key: full_key(key) for key, value in point.items() if is_distribution(value)}


def varied_keys(values: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of ``values``, spelled in full, that have several values."""
    return frozenset(full_key(key) for key, value in values.items() if is_axis(value))


def check_keys(where: str, values: Any) -> None:
    """Refuse what is no dict of dotted keys, and one that has the same key in two spellings."""
    if not isinstance(values, Mapping):
        raise SpaceError(f"{where}: a dict of dotted keys is expected, not {values!r}")
    seen: dict[str, str] = {}
    for key in values:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise SpaceError(f"{where}: {key!r} is not a dotted key such as 'model.init_args.width'")
        other = seen.setdefault(full_key(key), key)
        if other != key:
            raise SpaceError(f"{where}: {other} and {key} are the same key")


def _factors(where: str, values: Mapping[str, Any]) -> list[Factor]:
    """Return the factors of the product; a group of zipped keys stands where its first key does."""
    groups: dict[str, list[str]] = {}
    for key, value in values.items():
        if isinstance(value, Zipped):
            groups.setdefault(value.group, []).append(key)
    axes: list[Factor] = []
    for key, value in values.items():
        if isinstance(value, Grid):
            axes.append(((key,), [(entry,) for entry in value]))
        elif isinstance(value, Zipped) and key == groups[value.group][0]:
            axes.append(_zip(where, value.group, {name: values[name] for name in groups[value.group]}))
    return axes


def _zip(where: str, group: str, columns: dict[str, Zipped]) -> Factor:
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(column)}" for key, column in columns.items())
        name = f" of the group {group!r}" if group else ""
        raise SpaceError(f"{where}: zipped keys{name} need equally many values: {lengths}")
    return tuple(columns), list(zip(*columns.values(), strict=True))


def _has_inner_axes(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return any(is_axis(entry) or _has_inner_axes(entry) for entry in value.values())


def _with_inner_axes_as_keys(where: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(_has_inner_axes(value) for value in values.values()):
        return values
    hoisted: dict[str, Any] = {}
    for key, value in values.items():
        inner: dict[str, Any] = {}
        hoisted[key] = _without_axes(key, value, inner) if _has_inner_axes(value) else value
        hoisted.update(inner)
    check_keys(where, hoisted)
    return hoisted


def _without_axes(prefix: str, value: Mapping[str, Any], axes: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` without its axes, which go to ``axes`` under their dotted keys."""
    kept = {}
    for name, entry in value.items():
        key = f"{prefix}.{name}"
        if is_axis(entry):
            axes[key] = entry
        else:
            kept[name] = _without_axes(key, entry, axes) if _has_inner_axes(entry) else entry
    return kept
