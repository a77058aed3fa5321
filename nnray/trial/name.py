"""Names for people: what sets a trial apart from the others of its sweep (``width=32 lr=0.01 seed=3``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnray.trial.merging import COMPONENTS, flatten

_NAMING_KEYS = ("model.class_path", "data.class_path", "seed")
"""What the only trial of a sweep is named after."""
_MISSING = object()
_AMBIGUOUS = frozenset(" \t\r\n=\"'[](),{}")


def trial_names(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name per trial, made of the keys in which the trials differ.

    Args:
        configurations: A flat mapping of dotted keys to values per trial, as ``Configuration.flat()`` gives it.

    Returns:
        Names in the order given, no two alike. A key is shortened to its last part (``model.init_args.width`` to
        ``width``, a class path to its component), or to as many parts as keep two keys apart; a value that a trial does
        not have, or that merely comes with its class, is left out. The only trial of a sweep is named after its model
        and data.
    """
    if not configurations:
        return []
    varying = _varying_keys(configurations)
    if not varying:
        varying = [key for key in _NAMING_KEYS if key in configurations[0]]
    labels = _labels(varying)
    texts = {key: _texts(key, (values[key] for values in configurations if key in values)) for key in varying}
    words = (
        [f"{labels[key]}={texts[key][_identity(values[key])]}" for key in varying if key in values]
        for values in configurations
    )
    return list(_numbered(" ".join(pairs) for pairs in words))


def configuration_names(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what :func:`trial_names` does, of nested configurations, with a small part of the time and memory.

    Parts that are one object in several configurations, as they are in those of a sweep, are looked into once.
    """
    if not configurations:
        return []
    flat: list[dict[str, Any]] = [{} for _ in configurations]
    for part, value in configurations[0].items():
        column = [values[part] for values in configurations]
        if any(key.partition(".")[0] == part for key in _NAMING_KEYS) or any(other is not value for other in column):
            leaves = _differing_leaves(part, column)
            for values, other in zip(flat, column, strict=True):
                values.update(leaves[id(other)])
    return trial_names(flat)


def _differing_leaves(part: str, column: Iterable[Any]) -> dict[int, dict[str, Any]]:
    """Return, by the identity of each value in ``column``, those of its dotted keys in which the values differ."""
    leaves = {identity: flatten({part: value}) for identity, value in {id(value): value for value in column}.items()}
    first = next(iter(leaves.values()))
    kept = set(first).intersection(_NAMING_KEYS)
    for values in leaves.values():
        kept.update(key for key, value in values.items() if not _same(value, first.get(key, _MISSING)))
        kept.update(first.keys() - values.keys())
    return {identity: {key: values[key] for key in values if key in kept} for identity, values in leaves.items()}


def name_of(values: Mapping[str, Any]) -> str:
    """Return the name of one trial from the keys that are its own, where the other trials are not known yet.

    Numbers have four digits, which need not tell two trials apart.
    """
    flat = flatten(values)
    labels = _labels(list(flat))
    return " ".join(f"{labels[key]}={_brief(key, value)}" for key, value in flat.items())


def _brief(key: str, value: Any) -> str:
    if key.endswith(".class_path") or (key in COMPONENTS and isinstance(value, str)):
        return _class_name(value)
    return f"{value:.4g}" if isinstance(value, float) else _short(value)


def _varying_keys(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    first = configurations[0]
    varying: dict[str, None] = {}
    for values in configurations[1:]:
        for key, value in values.items():
            if key not in varying and not _same(value, first.get(key, _MISSING)):
                varying[key] = None
        if values.keys() != first.keys():
            varying.update(dict.fromkeys(first.keys() - values.keys()))
    differs_by_class = {key.rpartition(".")[0] for key in varying if key.endswith(".class_path")}
    order = {key: index for index, key in enumerate(dict.fromkeys(key for values in configurations for key in values))}
    # What only one class has is told by the class's name, unless its values vary among the trials of that class.
    kept = [key for key in varying if not _follows_class(key, differs_by_class, configurations)]
    return sorted(kept, key=lambda key: (key == "seed", order[key]))


def _follows_class(key: str, differing: set[str], configurations: Sequence[Mapping[str, Any]]) -> bool:
    component = next((prefix for prefix in differing if key.startswith(f"{prefix}.init_args.")), None)
    if component is None:
        return False
    by_class: dict[Any, Any] = {}
    for values in configurations:
        class_path = values.get(f"{component}.class_path")
        value = values.get(key, _MISSING)
        if not _same(by_class.setdefault(class_path, value), value):
            return False
    return True


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to a signature, to which ``1``, ``1.0`` and ``true`` are three."""
    if one is other:
        return True
    if one is _MISSING or other is _MISSING:
        return False
    simple = isinstance(one, (str, int, float)) and type(one) is type(other)
    return one == other if simple else _identity(one) == _identity(other)


def _identity(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _labels(keys: Sequence[str]) -> dict[str, str]:
    # A class and what stands in its place (null) have the same parts, and go by one label: no trial has both.
    parts = {
        key: tuple(part for part in key.split(".") if part not in ("init_args", "class_path")) or (key,) for key in keys
    }
    return {key: _label(own, set(parts.values()) - {own}) for key, own in parts.items()}


def _label(own: tuple[str, ...], others: set[tuple[str, ...]]) -> str:
    for length in range(1, len(own)):
        if not any(other[-length:] == own[-length:] for other in others):
            return ".".join(own[-length:])
    return ".".join(own)


def _texts(key: str, values: Iterable[Any]) -> dict[str, str]:
    """Return a text for each of a key's values (by its identity), the shortest form that tells all of them apart."""
    distinct = {_identity(value): value for value in values}
    for form in (_class_name if key.endswith(".class_path") else _short, _long):
        texts = {identity: form(value) for identity, value in distinct.items()}
        if len(set(texts.values())) == len(texts):
            return texts
    return {identity: identity for identity in distinct}


def _class_name(path: str) -> str:
    return path.rpartition(".")[2]


def _short(value: Any) -> str:
    """Text bare where it can be, classes by their names alone."""
    if isinstance(value, str):
        return value if value and not set(value) & _AMBIGUOUS else json.dumps(value)
    if isinstance(value, Mapping) and "class_path" in value:
        return _class_name(value["class_path"])
    if isinstance(value, list):
        return f"[{','.join(map(_short, value))}]"
    return _plain(value)


def _long(value: Any) -> str:
    """Text in quotes, classes by their paths and with their arguments."""
    if isinstance(value, Mapping) and "class_path" in value:
        arguments = ",".join(f"{name}={_long(entry)}" for name, entry in (value.get("init_args") or {}).items())
        return f"{value['class_path']}({arguments})"
    if isinstance(value, list):
        return f"[{','.join(map(_long, value))}]"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return json.dumps(value)


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Yield ``names``, with a number behind one that is taken already."""
    taken: set[str] = set()
    for name in names:
        number = 1
        while (unique := name if number == 1 else f"{name} ({number})") in taken:
            number += 1
        taken.add(unique)
        yield unique
