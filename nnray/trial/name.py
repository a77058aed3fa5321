"""Names for people: what sets a trial apart from the others of its sweep (``width=32 lr=0.01 seed=3``)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_MISSING = object()


def trial_names(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name per trial, made of the keys in which the trials differ.

    Args:
        configurations: A flat mapping of dotted keys to values per trial, as ``Configuration.flat()`` gives it.

    Returns:
        Names in the order given. A key is shortened to its last part (``model.init_args.width`` to ``width``, a class
        path to its component), or to as many parts as keep two keys apart; a value that a trial does not have is left
        out. The only trial of a sweep is named after its model and data.
    """
    if not configurations:
        return []
    varying = _varying_keys(configurations)
    if not varying:
        varying = [key for key in ("model.class_path", "data.class_path", "seed") if key in configurations[0]]
    labels = _labels(varying)
    return [" ".join(f"{labels[key]}={_text(key, values[key])}" for key in varying if key in values) for values in configurations]


def _varying_keys(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    first = configurations[0]
    varying: dict[str, None] = {}
    for values in configurations[1:]:
        if values.keys() == first.keys():
            varying.update((key, None) for key, value in values.items() if value != first[key])
        else:
            keys = first.keys() | values.keys()
            varying.update((key, None) for key in keys if values.get(key, _MISSING) != first.get(key, _MISSING))
    differs_by_class = {key.rpartition(".")[0] for key in varying if key.endswith(".class_path")}
    order = {key: index for index, key in enumerate(key for values in configurations for key in values)}
    # What only one class has is told by the class's name, unless its values vary among the trials of that class.
    kept = [key for key in varying if not _follows_class(key, differs_by_class, configurations)]
    return sorted(kept, key=lambda key: (key in ("seed",), order.get(key, len(order))))


def _follows_class(key: str, differing: set[str], configurations: Sequence[Mapping[str, Any]]) -> bool:
    component = next((prefix for prefix in differing if key.startswith(f"{prefix}.init_args.")), None)
    if component is None:
        return False
    by_class: dict[Any, Any] = {}
    for values in configurations:
        class_path = values.get(f"{component}.class_path")
        value = values.get(key, _MISSING)
        if by_class.setdefault(class_path, value) != value:
            return False
    return True


def _labels(keys: Sequence[str]) -> dict[str, str]:
    parts = {key: [part for part in key.split(".") if part not in ("init_args", "class_path")] or [key] for key in keys}
    labels = {key: parts[key][-1] for key in keys}
    counts = Counter(labels.values())
    return {key: labels[key] if counts[labels[key]] == 1 else ".".join(parts[key]) for key in keys}


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition(".")[2] if key.endswith("class_path") else value
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return json.dumps(value)
