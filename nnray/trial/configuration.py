"""A trial's configuration: from what a person wrote to every key with its value, checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from nnray.errors import ConfigurationError, NnrayError, did_you_mean
from nnray.trial.class_paths import public_path
from nnray.trial.merging import COMPONENTS, flatten, merge
from nnray.trial.options import CheckpointOptions, TrainerOptions, TrialOptions
from nnray.trial.signature import SHORT_SIGNATURE, signature_of
from nnray.trial.yaml_dumper import dump_yaml

if TYPE_CHECKING:
    import lightning.pytorch as pl
    import torch

_TOP_LEVEL = ("seed", "threads", "workers", "source")
_GROUPS = {"trainer": TrainerOptions, "checkpoint": CheckpointOptions}
KEYS = ("seed", "threads", "workers", *COMPONENTS, *_GROUPS, "source")

_REMEMBERED = 4096
"""So many different sets of components are remembered while a sweep is resolved, which bounds the memory."""

DEFAULT_TASK = "nnray.training.Classifier"
DEFAULT_OPTIMIZER = "torch.optim.AdamW"
"""What a task that takes an optimizer gets where none is named; a task that configures its own has null."""


@dataclass(frozen=True)
class Configuration:
    """One trial's resolved configuration.

    Attributes:
        values: Every key, nested, as plain data; to be read only.
        unsigned: Dotted keys that cannot change the result and so don't enter the signature.
    """

    values: Mapping[str, Any]
    unsigned: frozenset[str]

    def __post_init__(self) -> None:
        """Refuse options that don't go together.

        Raises:
            ConfigurationError: If several workers are to keep a state within an epoch.
        """
        if self.values["workers"] > 1 and self.values["checkpoint"]["every_n_steps"] is not None:
            raise ConfigurationError(
                "checkpoint.every_n_steps: a state within an epoch can be kept of one process, and not of "
                f"{self.values['workers']} workers"
            )

    @cached_property
    def full_signature(self) -> str:
        """All 64 hex digits of the signature."""
        return signature_of(_without(self.values, [key.split(".") for key in self.unsigned]))

    @property
    def signature(self) -> str:
        """The first 16 hex digits of the signature: the trial's name everywhere."""
        return self.full_signature[:SHORT_SIGNATURE]

    def with_workers(self, workers: int) -> Configuration:
        """Return the same configuration to be trained by so many processes together."""
        unsigned = self.unsigned | {"workers"} if workers == 1 else self.unsigned - {"workers"}
        return Configuration({**self.values, "workers": workers}, unsigned)

    def flat(self) -> dict[str, Any]:
        """Return dotted keys and their values; lists stay whole."""
        return flatten(self.values)

    def yaml(self) -> str:
        """Return the configuration as the text of a file that resolves to it again."""
        return dump_yaml(self.values)

    def build_data(self) -> pl.LightningDataModule:
        """Return the data module, its seed linked to the trial's."""
        return self._build("data", {"seed": self.values["seed"]})

    def build_model(self, facts: Mapping[str, Any]) -> torch.nn.Module | None:
        """Return the network with fresh weights, or None where the task brings its own.

        Args:
            facts: What the model takes from the data: see :meth:`data_facts`.
        """
        return self._build("model", facts) if self.values["model"] else None

    def check_parts(self) -> None:
        """Build the data module and, without its memory, the network, which check what types cannot say.

        Raises:
            ConfigurationError: If one of nnray's own classes refuses its arguments. What a user's class raises is left
                to the trial, whose record it belongs into.
        """
        import torch

        data = _checked("data", self.build_data)
        try:
            facts = self.data_facts(data) if data is not None else None
        except Exception:  # the data is not at hand, on a laptop, say
            facts = None
        if facts is not None:
            with torch.device("meta"):
                _checked("model", lambda: self.build_model(facts))

    def build_task(self, **parts: Any) -> pl.LightningModule:
        """Return the LightningModule; ``parts`` are those of its arguments that come from elsewhere."""
        return self._build("task", parts)

    def build_callbacks(self) -> list[pl.Callback]:
        """Return the Lightning callbacks that the configuration names, freshly built."""
        from nnray.trial.components import built_arguments

        return built_arguments(TrainerOptions, self.values["trainer"])["callbacks"] or []

    def data_facts(self, data: pl.LightningDataModule) -> dict[str, Any]:
        """Return ``in_channels``, ``num_classes`` and ``image_size`` as far as the data module has them."""
        from nnray.trial.components import MODEL_LINKS, has_attribute

        return {name: getattr(data, name) for name in MODEL_LINKS if has_attribute(type(data), name)}

    def factory(self, kind: str) -> Any:
        """Return a function of parameters (or, for a scheduler, of the optimizer) that builds it; None if null."""
        if self.values[kind] is None:
            return None
        argument = "params" if kind == "optimizer" else "optimizer"
        return lambda value: self._build(kind, {argument: value})

    def _build(self, kind: str, available: Mapping[str, Any]) -> Any:
        from nnray.trial.components import build, find_class, links

        cls = find_class(kind, self.values[kind]["class_path"])
        linked = {name: available[name] for name in links(cls, available)}
        return build(cls, self.values[kind]["init_args"], linked)


def _checked(kind: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except NnrayError as error:
        raise ConfigurationError(f"{kind}.init_args: {error}") from error
    except Exception:
        return None


def resolve(raw: Mapping[str, Any]) -> Configuration:
    """Return the configuration that ``raw`` means, defaults included.

    Args:
        raw: Nested or dotted keys, as files and command lines give them (:func:`nnray.trial.merge`).

    Raises:
        ConfigurationError: On an unknown key, a wrong type, a class that cannot be imported, or parts that don't fit
            together; the message is one line and names the key.
    """
    return Resolver().resolve(merge({}, raw))


class Resolver:
    """Resolves many configurations that have much in common; what several have is resolved once and shared."""

    def __init__(self) -> None:
        self._components: dict[str, tuple[dict[str, Any], frozenset[str]]] = {}

    def resolve(self, raw: dict[str, Any]) -> Configuration:
        """Return what :func:`resolve` does, of a nested dict as :func:`nnray.trial.merge` makes it."""
        for key in raw:
            if key not in KEYS:
                raise ConfigurationError(f"{key}: there is no such key{did_you_mean(str(key), KEYS)}")
        resolution = _Resolution(raw)
        options = resolution.options()
        components = self._resolved_components(raw, resolution)
        values = {key: components[key] if key in components else options[key] for key in KEYS}
        return Configuration(values, _shared(frozenset(resolution.unsigned)))

    def _resolved_components(self, raw: dict[str, Any], resolution: _Resolution) -> dict[str, Any]:
        try:
            text = json.dumps([raw.get(kind) for kind in COMPONENTS])
        except (TypeError, ValueError, RecursionError):  # no plain data: to be refused, with the name of the key
            return resolution.components()
        if text not in self._components:
            before = frozenset(resolution.unsigned)
            components = resolution.components()
            if len(self._components) == _REMEMBERED:
                self._components.clear()
            self._components[text] = components, frozenset(resolution.unsigned - before)
        components, unsigned = self._components[text]
        resolution.unsigned |= unsigned
        return components


class _Resolution:
    """One configuration on its way from raw to resolved; collects the keys that don't enter the signature."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.unsigned: set[str] = set()

    def options(self) -> dict[str, Any]:
        values = self._group("", TrialOptions, {key: self.raw[key] for key in _TOP_LEVEL if key in self.raw})
        if values["workers"] == 1:
            self.unsigned.add("workers")  # as before there was a choice
        return {**values, **{name: self._group(name, cls, self.raw.get(name)) for name, cls in _GROUPS.items()}}

    def _group(self, name: str, cls: type, given: Any) -> dict[str, Any]:
        from nnray.trial.components import resolve_arguments

        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"{name}: a mapping of options is expected, not {given!r}")
        self._declare_unsigned(cls, name)
        arguments = resolve_arguments(name, cls, given)
        try:
            cls(**arguments)  # checks the values
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        return arguments

    def components(self) -> dict[str, Any]:
        from nnray.trial import components as found

        raw = {kind: self.raw.get(kind) for kind in COMPONENTS}
        raw["task"] = {} if raw["task"] is None else raw["task"]
        if isinstance(raw["task"], Mapping):
            raw["task"] = {"class_path": DEFAULT_TASK, **raw["task"]}
        classes = {kind: self._class(kind, value) for kind, value in raw.items()}
        task, data = classes["task"], classes["data"]
        assert task is not None
        if data is None:
            raise ConfigurationError("data: name the data set, for example data: nnray.data.Digits")
        self._fit_to_task(task, raw, classes)

        model_links = frozenset(name for name in found.MODEL_LINKS if found.has_attribute(data, name))
        linked = {
            "model": model_links,
            "data": frozenset(found.DATA_LINKS),
            "optimizer": frozenset({"params"}),
            "lr_scheduler": frozenset({"optimizer"}),
            "task": frozenset(found.TASK_LINKS if model_links >= {"num_classes"} else found.TASK_LINKS[:-1]),
        }
        return {kind: self._component(kind, cls, raw[kind], linked[kind]) for kind, cls in classes.items()}

    def _class(self, kind: str, value: Any) -> type | None:
        from nnray.trial.components import find_class

        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{kind}: a class path, or a mapping with class_path and init_args, is expected, not {value!r}"
            )
        for key in value:
            if key not in ("class_path", "init_args"):
                hint = did_you_mean(str(key), ("class_path", "init_args"))
                raise ConfigurationError(
                    f"{kind}.{key}: beside class_path stands init_args, which holds all arguments{hint}"
                )
        if "class_path" not in value:
            if kind == "optimizer":
                return find_class(kind, DEFAULT_OPTIMIZER)
            raise ConfigurationError(f"{kind}.class_path is missing: arguments are given, but not whose")
        return find_class(kind, value["class_path"])

    def _fit_to_task(self, task: type, raw: dict[str, Any], classes: dict[str, type | None]) -> None:
        """Check that the task takes the parts that are named, and that those it needs are named."""
        from nnray.trial.components import find_class, parameters_of, required_parameters

        takes, needs = parameters_of(task) | required_parameters(task), required_parameters(task)
        if "optimizer" in needs and classes["optimizer"] is None:
            classes["optimizer"], raw["optimizer"] = find_class("optimizer", DEFAULT_OPTIMIZER), {}
        for kind in ("model", "optimizer", "lr_scheduler"):
            if classes[kind] is None and kind in needs:
                raise ConfigurationError(f"{kind}: {task.__name__} needs one; give {kind}.class_path")
            if classes[kind] is not None and kind not in takes:
                raise ConfigurationError(
                    f"{kind}: {task.__name__} takes none (its constructor has no argument '{kind}'); leave it out"
                )

    def _component(self, kind: str, cls: type | None, value: Any, links: frozenset[str]) -> dict[str, Any] | None:
        from nnray.trial.components import parameters_of, resolve_arguments

        if cls is None:
            return None
        given = value.get("init_args")
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"{kind}.init_args: a mapping of arguments is expected, not {given!r}")
        linked = (
            links & (parameters_of(cls) | {"params", "optimizer"}) if kind != "task" else links & parameters_of(cls)
        )
        self._declare_unsigned(cls, f"{kind}.init_args")
        arguments = resolve_arguments(f"{kind}.init_args", cls, given, linked)
        return {"class_path": public_path(cls, value.get("class_path")), "init_args": arguments}

    def _declare_unsigned(self, cls: type, prefix: str) -> None:
        names: frozenset[str] = getattr(cls, "unsigned_arguments", frozenset())
        self.unsigned.update(f"{prefix}.{name}" if prefix else name for name in names)


@lru_cache(maxsize=256)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """Return the one object for all equal sets: a sweep has one per trial."""
    return names


def _without(values: Mapping[str, Any], keys: list[list[str]]) -> dict[str, Any]:
    """Return ``values`` without the entries at ``keys``, each a path of names."""
    left_out = {key[0] for key in keys if len(key) == 1}
    deeper: dict[str, list[list[str]]] = {}
    for head, *rest in keys:
        if rest:
            deeper.setdefault(head, []).append(rest)
    kept = {name: value for name, value in values.items() if name not in left_out}
    return {
        name: _without(value, deeper[name]) if name in deeper and isinstance(value, Mapping) else value
        for name, value in kept.items()
    }
