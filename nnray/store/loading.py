"""Kept weights back into the network that their trial's configuration describes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from nnray.errors import StoreError, did_you_mean
from nnray.store.links import check_links
from nnray.store.stored_trial import StoredTrial
from nnray.store.weights import TASK_PREFIX, Tensors, kept_epochs, load_weights
from nnray.trial.configuration import Configuration, resolve
from nnray.trial.paths import TrialPaths

if TYPE_CHECKING:
    import torch


def load_model(paths: TrialPaths, epoch: int | None = None) -> torch.nn.Module:
    """Return a trial's network in eval mode, on the CPU, with the weights kept after ``epoch``.

    A trial without a model of its own (its task brings one) gives its task. Parameters have the types in which they
    were kept.

    Args:
        paths: The trial's folder.
        epoch: Counted from 0; by default the last one kept.

    Raises:
        StoreError: If there are no such weights, or they don't fit the model that the configuration makes today.
        ConfigurationError: If the configuration names classes or arguments that are not there today.
    """
    kept = kept_epochs(paths)
    if not kept:
        raise StoreError(f"trial {paths.signature} keeps no weights")
    if epoch is None:
        epoch = max(kept)
    if epoch not in kept:
        hint = did_you_mean(str(epoch), map(str, kept)) if len(kept) < 5 else f"; there is: {min(kept)} ... {max(kept)}"
        raise StoreError(f"trial {paths.signature} keeps no weights of epoch {epoch}{hint}")
    configuration, facts = model_of(paths)
    weights = load_weights(kept[epoch])
    if configuration.values["model"] is not None:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(TASK_PREFIX)}
    try:
        model = _build_and_load(configuration, facts, weights)
    except RuntimeError as error:  # what torch says of missing, unexpected and misshapen entries
        reason = " ".join(str(error).split())
        raise StoreError(f"the weights of trial {paths.signature} don't fit its model of today: {reason}") from error
    return model.eval()


def model_of(paths: TrialPaths) -> tuple[Configuration, dict[str, Any]]:
    """Return what a trial's network is built from: its configuration, read by today's parser, and facts of its data.

    Raises:
        StoreError: If the trial's files are missing or damaged.
        ConfigurationError: If the configuration names classes or arguments that are not there today.
    """
    trial = StoredTrial(check_links(paths))
    facts = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in trial.record.data_facts.items()}
    return resolve(trial.config), facts


def skeleton(configuration: Configuration, facts: Mapping[str, Any]) -> torch.nn.Module | None:
    """Return the network on the meta device, without weights, to be filled by ``load_state_dict(..., assign=True)``.

    None where that would not give the network: its constructor looks at values, two entries of its state dict are one
    tensor, or it holds tensors that no state dict has.
    """
    import torch

    try:
        with torch.device("meta"):
            model = _build(configuration, facts)
    except Exception:  # whatever a constructor raises that looks at values; a real mistake shows in the real thing
        return None
    entries = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    if _shares_tensors(model) or any(tensor.is_meta and id(tensor) not in entries for tensor in _tensors(model)):
        return None
    return model


def _build_and_load(configuration: Configuration, facts: Mapping[str, Any], weights: Tensors) -> torch.nn.Module:
    import torch

    # Random initial weights take most of the time, and none of them stay. But what is not in the state dict does.
    model = skeleton(configuration, facts)
    if model is not None:
        with contextlib.suppress(Exception):  # a real mistake shows again below
            model.load_state_dict(weights, strict=True, assign=True)
            if not any(tensor.is_meta for tensor in _tensors(model)):
                return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.values["seed"])  # as in training: buffers that are not kept may be random
        model = _build(configuration, facts)
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name in weights:
            tensor.data = tensor.data.to(weights[name].dtype)
    model.load_state_dict(weights, strict=True)
    return model


def _build(configuration: Configuration, facts: Mapping[str, Any]) -> torch.nn.Module:
    model = configuration.build_model(facts)
    if model is not None:
        return model
    parts = {kind: configuration.factory(kind) for kind in ("optimizer", "lr_scheduler")}
    return configuration.build_task(**{kind: part for kind, part in parts.items() if part is not None}, **facts)


def _shares_tensors(model: torch.nn.Module) -> bool:
    """Tell whether an entry of the state dict stands under two names, which loading by assignment would part."""
    entries = [id(tensor) for tensor in model.state_dict(keep_vars=True).values()]
    return len(set(entries)) < len(entries)


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield every tensor that a module holds: parameters, buffers, and those in plain attributes."""
    for module in model.modules():
        yield from _tensors_in(vars(module), set())


def _tensors_in(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, Mapping):
            parts = list(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            parts = list(value)
        elif isinstance(value, partial):
            parts = [value.args, value.keywords]
        else:
            closure = getattr(value, "__closure__", None) or ()
            parts = [cell.cell_contents for cell in closure if not _is_empty(cell)]
        for part in parts:
            yield from _tensors_in(part, seen)


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading an empty cell raises
    except ValueError:
        return True
    return False
