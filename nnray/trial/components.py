"""Classes in configurations: found by path, their arguments checked by jsonargparse, and built.

This is the one file of the package that needs PyTorch and Lightning, since a class must be imported to know its
arguments and their types.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import jsonargparse
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from nnray.errors import ConfigurationError, did_you_mean
from nnray.redaction import secret_key
from nnray.trial import options
from nnray.trial.class_trust import check_classes, check_import
from nnray.trial.merging import HOMES
from nnray.trial.parser_errors import parser_error_line
from nnray.trial.plain_data import plain_arguments
from nnray.trial.plain_numbers import number_types, plain_numbers

# The annotation of TrainerOptions.callbacks is resolved by jsonargparse in the module that defines the class.
options.Callback = Callback

BASES: dict[str, type] = {
    "model": torch.nn.Module,
    "data": pl.LightningDataModule,
    "optimizer": torch.optim.Optimizer,
    "lr_scheduler": torch.optim.lr_scheduler.LRScheduler,
    "task": pl.LightningModule,
}

MODEL_LINKS = ("in_channels", "num_classes", "image_size")
"""Arguments that a model takes from the data module where that has an attribute of the name."""
DATA_LINKS = ("seed",)
TASK_LINKS = ("model", "optimizer", "lr_scheduler", "num_classes")


_WHERE_MODULES_ARE = "; the folder that it lies in must be importable: start in that folder, or add it to PYTHONPATH"


def find_class(kind: str, path: Any) -> type:
    """Return the class that ``path`` names, checked to be one that can stand under the key ``kind``."""
    key = f"{kind}.class_path"
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"{key}: a class path such as '{HOMES[kind]}.NAME' is expected, not {path!r}")
    if not all(part.isidentifier() for part in path.split(".")):
        raise ConfigurationError(f"{key}: {path!r} is not a class path such as '{HOMES[kind]}.NAME'")
    check_import(key, path)
    module_path, _, name = path.rpartition(".")
    module = _import_module(key, path, module_path or HOMES[kind])
    found = getattr(module, name, None)
    base = BASES[kind]
    if found is None:
        raise ConfigurationError(
            f"{key}: there is no {name!r} in {module.__name__}{did_you_mean(name, _names_of(module, base))}"
        )
    if not inspect.isclass(found) or not issubclass(found, base):
        raise ConfigurationError(
            f"{key}: {path} is not a subclass of {base.__module__.split('.')[0]}'s {base.__name__}"
        )
    if inspect.isabstract(found):
        raise ConfigurationError(f"{key}: {path} is abstract{did_you_mean(name, _names_of(module, found))}")
    return found


def _import_module(key: str, path: str, module_path: str) -> Any:
    try:
        return importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name and (module_path == error.name or module_path.startswith(f"{error.name}.")):
            parent, _, child = error.name.rpartition(".")
            hint = did_you_mean(child, _submodules(parent)) if parent else _WHERE_MODULES_ARE
            raise ConfigurationError(f"{key}: cannot import {path}: there is no module {error.name!r}{hint}") from error
        raise ConfigurationError(f"{key}: importing {path} failed: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a person's own module raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"{key}: importing {path} failed: {reason}") from error


def _submodules(package: str) -> list[str]:
    import pkgutil

    module = importlib.import_module(package)
    return [entry.name for entry in pkgutil.iter_modules(getattr(module, "__path__", []))]


def _names_of(module: Any, base: type) -> list[str]:
    names = getattr(module, "__all__", None) or dir(module)
    classes = ((name, getattr(module, name, None)) for name in names)
    usable = (
        (name, cls)
        for name, cls in classes
        if inspect.isclass(cls) and issubclass(cls, base) and not inspect.isabstract(cls)
    )
    return [name for name, _ in usable if not name.startswith("_")]


@functools.cache
def parameters_of(cls: type) -> frozenset[str]:
    """Return the names of the arguments that ``cls`` can be built with."""
    return frozenset(_parser(cls, frozenset()).get_defaults().get("init_args", {}).keys())


@functools.cache
def required_parameters(cls: type) -> frozenset[str]:
    """Return the arguments of ``cls`` that have no default."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return frozenset(p.name for p in named if p.default is p.empty)


def has_attribute(cls: type, name: str) -> bool:
    """Tell whether ``cls`` declares that its instances have ``name``: as an attribute, a property or an annotation."""
    return hasattr(cls, name) or any(name in vars(parent).get("__annotations__", {}) for parent in cls.__mro__)


@functools.cache
def _parser(cls: type, linked: frozenset[str]) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False, parser_mode="json")
    parser.add_class_arguments(cls, "init_args", skip=set(linked), fail_untyped=False, instantiate=False)
    return parser


def resolve_arguments(
    prefix: str, cls: type, given: Mapping[str, Any], linked: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return all arguments of ``cls`` as plain data, defaults filled in and values brought to their declared types.

    Results are shared by all that give the same arguments, and are to be read only.

    Args:
        prefix: The dotted key of the arguments, for error messages (``model.init_args``).
        cls: The class.
        given: The arguments that the configuration gives.
        linked: Arguments that are taken from elsewhere and can neither be given nor appear in the result.

    Raises:
        ConfigurationError: On an argument that is unknown, missing or of the wrong type; the message names its key.
    """
    numbers = plain_numbers(_number_types(cls, linked), given)
    if numbers:
        others = {name: value for name, value in given.items() if name not in numbers}
        template = _template(prefix, cls, linked, tuple(numbers), _Given(given, _text_of(prefix, others), numbers))
        if template is not None:
            return _filled(template, tuple(numbers.items()))
    return _resolved(prefix, cls, linked, _Given(given, _text_of(prefix, given)))


def _text_of(prefix: str, given: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(given, sort_keys=True, default=repr)
        if "\\ud" in text:  # perhaps half of a surrogate pair, which no file can hold
            json.dumps(given, default=repr, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # keys that are not text, or a value that holds itself
        raise ConfigurationError(f"{prefix or 'the configuration'}: {given!r} is not plain data: {error}") from error
    return text


class _Given:
    """Arguments that are equal in a cache when their text is, whatever their ``numbers``, which are not in it."""

    def __init__(self, values: Mapping[str, Any], text: str, numbers: Mapping[str, float] | None = None) -> None:
        self.values, self.text, self.numbers = values, text, numbers or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class _Template:
    """Resolved arguments some of whose numbers are still to be replaced; equal only to itself."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


@functools.cache
def _number_types(cls: type, linked: frozenset[str]) -> Mapping[str, type]:
    actions = {action.dest.removeprefix("init_args."): action for action in _parser(cls, linked)._actions}
    hints = {name: getattr(action, "_typehint", action.type) for name, action in actions.items()}
    return number_types(hints)


@functools.lru_cache(maxsize=4096)
def _template(
    prefix: str, cls: type, linked: frozenset[str], names: tuple[str, ...], given: _Given
) -> _Template | None:
    """Return what the arguments are whose numbers ``names`` are still to be put in.

    To parse arguments takes a hundred times as long as to put a number into them, so those that differ in such numbers
    alone are parsed once. None if the parser makes something else of a number than was expected.
    """
    resolved = _resolved(prefix, cls, linked, _Given(given.values, _text_of(prefix, given.values)))
    same = (
        type(resolved.get(name)) is type(value) and resolved[name] == value for name, value in given.numbers.items()
    )
    return _Template(resolved) if all(same) else None


@functools.lru_cache(maxsize=4096)
def _filled(template: _Template, numbers: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    return {**template.values, **dict(numbers)}


@functools.lru_cache(maxsize=4096)
def _resolved(prefix: str, cls: type, linked: frozenset[str], given: _Given) -> dict[str, Any]:
    parser = _parser(cls, linked)
    known = parser.get_defaults().get("init_args", {})
    for name in given.values:
        if name in linked:
            raise ConfigurationError(
                f"{_key(prefix, name)} is taken from another part of the configuration; leave it out"
            )
        if not isinstance(name, str) or name not in known:
            whose = (
                "there is no such key" if cls.__module__ == options.__name__ else f"{cls.__name__} has no such argument"
            )
            raise ConfigurationError(f"{_key(prefix, name)}: {whose}{did_you_mean(str(name), known.keys())}")
        if given.values[name] is None and not _admits_none(parser, name):
            raise ConfigurationError(f"{_key(prefix, name)}: a value is expected, not null")
    missing = sorted(required_parameters(cls) - linked - given.values.keys())
    if missing:
        raise ConfigurationError(
            f"{_key(prefix, missing[0])}: {cls.__name__} needs this argument and has no default for it"
        )
    try:
        parsed = parser.parse_object({"init_args": copy.deepcopy(dict(given.values))})  # which it changes in place
    except Exception as error:  # jsonargparse raises ArgumentError, and whatever a type's own conversion raises
        at_fault = next((value for name, value in given.values.items() if f'"init_args.{name}"' in str(error)), None)
        raise ConfigurationError(parser_error_line(prefix, str(error), at_fault, _arguments_at)) from error
    check_classes(prefix, parsed.get("init_args"))
    resolved = json.loads(plain_arguments(prefix, parser, parsed, given.values))
    if key := secret_key({prefix or "": resolved}):
        raise ConfigurationError(
            f"{key.strip('.')}: a password or token has no place in a configuration, which is recorded; let the class "
            "read it from an environment variable or a file"
        )
    return resolved


def _admits_none(parser: jsonargparse.ArgumentParser, name: str) -> bool:
    """Tell whether an argument can be null: jsonargparse itself lets null stand for any value."""
    if parser.get_defaults()["init_args"].get(name) is None:
        return not any(action.dest == f"init_args.{name}" and action.required for action in parser._actions)
    hints = [
        action._typehint
        for action in parser._actions
        if action.dest == f"init_args.{name}" and hasattr(action, "_typehint")
    ]
    return all(hint is Any or type(None) in typing.get_args(hint) for hint in hints)


def _arguments_at(path: str) -> frozenset[str]:
    module, _, name = path.rpartition(".")
    return parameters_of(getattr(importlib.import_module(module), name))


def _key(prefix: str, name: object) -> str:
    return ".".join(str(part) for part in (prefix, name) if part != "")


def build(cls: type, arguments: Mapping[str, Any], linked: Mapping[str, Any]) -> Any:
    """Return ``cls`` built with resolved ``arguments`` (classes among them are built too) and the linked values."""
    return cls(**built_arguments(cls, arguments, frozenset(linked)), **linked)


def built_arguments(cls: type, arguments: Mapping[str, Any], linked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return resolved ``arguments`` of ``cls`` with the classes among them built."""
    parsed = _parsed(cls, linked, json.dumps(arguments, sort_keys=True))
    return vars(_parser(cls, linked).instantiate(parsed).get("init_args", jsonargparse.Namespace()))


@functools.lru_cache(maxsize=256)
def _parsed(cls: type, linked: frozenset[str], text: str) -> jsonargparse.Namespace:
    parsed = _parser(cls, linked).parse_object({"init_args": json.loads(text)})
    check_classes("", parsed)
    return parsed


def links(cls: type, names: Iterable[str]) -> frozenset[str]:
    """Return those of ``names`` that ``cls`` takes as arguments."""
    return frozenset(names) & parameters_of(cls)


def arguments_help(kind: str, cls: type) -> str:
    """Return a listing of the arguments of ``cls`` as options under the key ``kind``."""
    parser = jsonargparse.ArgumentParser(prog="nnray train", usage=jsonargparse.SUPPRESS, add_help=False)
    hidden = {
        "model": MODEL_LINKS,
        "data": DATA_LINKS,
        "task": TASK_LINKS,
        "optimizer": ("params",),
        "lr_scheduler": ("optimizer",),
    }
    parser.add_class_arguments(cls, kind, skip=set(hidden[kind]), fail_untyped=False)
    return parser.format_help()
