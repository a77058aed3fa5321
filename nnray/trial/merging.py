"""Configurations before they are resolved: nested dicts out of YAML files, dotted keys and command lines.

Later values win. A dotted key may leave ``init_args`` out (``model.width``), and a component may be given by the class
path alone (``model: nnray.models.MLP``). Naming another class starts again from that class's own defaults: arguments
that an earlier file gave to the former class are dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from nnray.errors import ConfigurationError
from nnray.trial.config_file import is_of_trial, without_checksum
from nnray.trial.yaml_loader import load_yaml

HOMES = {
    "model": "nnray.models",
    "data": "nnray.data",
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
    "task": "nnray.training",
}
"""Where a class path without a dot is looked up."""

COMPONENTS = tuple(HOMES)
"""The keys whose value is a class: a mapping of ``class_path`` and ``init_args``, or null."""

_LARGEST_FILE = 16 << 20
_CLASS_KEYS = ("class_path", "init_args")


def read_configuration_file(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML (or JSON) file.

    Raises:
        ConfigurationError: There is none, or the file is that of a trial in a store and is not what was written there.
    """
    path = Path(path) if isinstance(path, str) else path
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigurationError(f"{path} is no configuration: it is larger than {_LARGEST_FILE >> 20} MiB")
        content = path.read_bytes()
        if without_checksum(content) is None and is_of_trial(path):
            raise ConfigurationError(f"{path} is damaged: it is not what was written (its checksum differs)")
        text = content.decode()
        values = load_yaml(
            text.replace("\t", " ") if path.suffix == ".json" else text
        )  # JSON may be indented by tabs, YAML not
    except ConnectionError:  # of an object store: the file may well be there
        raise
    except OSError as error:
        raise ConfigurationError(f"cannot read configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"cannot read configuration {path}: it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"{path} holds a {type(values).__name__}, where a mapping of keys to values is expected"
        )
    return values


def parse_assignments(words: Iterable[str]) -> dict[str, Any]:
    """Return ``{"a.b": value}`` for command-line words ``a.b=value``; the value is read as YAML."""
    overrides = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{word!r} is not of the form KEY=VALUE")
        overrides[key] = parse_value(key, text)
    return overrides


def parse_value(key: str, text: str) -> Any:
    """Return what ``text`` means as YAML, for a value typed on a command line."""
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{key}: {text!r} is not a YAML value") from error


def merge(base: Mapping[str, Any], *updates: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with updates applied in order; ``base`` and the updates stay as they are.

    An update may be nested, dotted or both. Within one update a class path is applied before the arguments of the
    class, whatever their order.
    """
    merged = _nested({}, base)
    for update in updates:
        merged = _nested(merged, update)
    return merged


def _nested(config: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(config)
    leaves = [(_path(key), value) for key, value in update.items()]
    # Stable: a component as a whole comes first, then its class path, then everything else in the order given.
    leaves.sort(key=lambda leaf: 0 if len(leaf[0]) == 1 else 1 if leaf[0][1] == "class_path" else 2)
    for path, value in leaves:
        _assign(result, path, value)
    return result


def full_key(key: str) -> str:
    """Return a dotted key with the ``init_args`` that may be left out (``model.init_args.width``)."""
    return ".".join(_path(key))


def _path(key: Any) -> tuple[str, ...]:
    if not isinstance(key, str) or not key or any(not part for part in key.split(".")):
        raise ConfigurationError(f"{key!r} is not a configuration key: a name, or names joined by dots, is expected")
    parts = key.split(".")
    if parts[0] in COMPONENTS and len(parts) > 1 and parts[1] not in _CLASS_KEYS:
        parts.insert(1, "init_args")
    return tuple(parts)


def _assign(config: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    head = path[0]
    if head in COMPONENTS:
        config[head] = _updated_component(head, config.get(head), path[1:], value)
    else:
        config[head] = _updated_value(config.get(head), path[1:], value)


def _updated_component(head: str, current: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        if value is None:
            return None
        if isinstance(value, str):
            value = {"class_path": value}
        if not isinstance(value, Mapping):
            return value  # of the wrong type: the resolver says so, with the key's name
        update = dict(value)
        if not set(update) & set(_CLASS_KEYS):
            update = {"init_args": update}
    else:
        update = {path[0]: _wrap(path[1:], value)}
    current = dict(current) if isinstance(current, Mapping) else {}
    if _names_another_class(current, update, HOMES[head]):
        current = {"class_path": update["class_path"]}
    for key, entry in update.items():
        current[key] = _updated_value(current.get(key), (), entry)
    return current


def _updated_value(current: Any, path: tuple[str, ...], value: Any) -> Any:
    """Mappings are merged key by key, everything else is replaced."""
    value = _wrap(path, value)
    if not isinstance(value, Mapping):
        return copy.deepcopy(value)
    merged = dict(current) if isinstance(current, Mapping) and not _names_another_class(current, value) else {}
    for key, entry in value.items():
        merged[key] = _updated_value(merged.get(key), (), entry)
    return merged


def _names_another_class(current: Mapping[str, Any], update: Mapping[str, Any], home: str = "") -> bool:
    """Tell whether ``update`` gives a class path that is not merely another spelling of the current one."""
    old, new = current.get("class_path"), update.get("class_path")
    if "class_path" not in update or "class_path" not in current or old == new:
        return False
    if not isinstance(old, str) or not isinstance(new, str):
        return True
    (old_module, _, old_name), (new_module, _, new_name) = old.rpartition("."), new.rpartition(".")
    shorter, longer = sorted((old_module or home, new_module or home), key=len)
    # nnray.models.ResNet is nnray.models.resnet.ResNet under its public name.
    return old_name != new_name or not f"{longer}.".startswith(f"{shorter}.")


def _wrap(path: tuple[str, ...], value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested configuration by dotted keys; lists and empty mappings stay whole, empty ``init_args`` go."""
    return dict(_leaves("", values))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or prefix.endswith("init_args") or not prefix):
        for key, entry in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), entry)
    else:
        yield prefix, value
