"""Networks out of a store as graphs: built once per architecture, only the tensors that are needed read from disk."""

from __future__ import annotations

import copy
import functools
import json
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import torch

from nnray.errors import StoreError
from nnray.graph import GraphModule
from nnray.store.loading import load_model, model_of, skeleton
from nnray.store.weights import load_weights
from nnray.trial.configuration import Configuration
from nnray.trial.paths import StorePaths

Layers = str | Iterable[str]


def load_network(store: Path, trial: str, epoch: int, layers: Layers | None = None) -> GraphModule:
    """Return a trial's network after an epoch as a graph in eval mode, on the CPU.

    Args:
        store: The store's folder.
        trial: The trial's signature.
        epoch: Counted from 0.
        layers: Names or globs: the graph ends there, nothing behind is read. None for the whole network.

    Raises:
        StoreError: If its weights are lost or damaged.
        GraphError: If it has no such layers, or is no graph and cannot be traced as one.
    """
    paths = StorePaths(store).trial(trial)
    configuration, facts = model_of(paths)
    wanted = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
    empty = _skeleton(_architecture(configuration, facts), wanted, _Given(configuration, facts))
    if empty is None:
        model = _as_graph(load_model(paths, epoch))
        return model if wanted is None else model.submodel(outputs=wanted)
    model = copy.deepcopy(empty)
    tensors = load_weights(paths.checkpoint(epoch), model.state_dict())
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:  # what torch says of misshapen entries
        reason = " ".join(str(error).split())
        raise StoreError(f"the weights of trial {trial} don't fit its model of today: {reason}") from error
    return model.eval()


class Loader:
    """Loads networks and keeps the last few."""

    def __init__(self, store: Path, device: torch.device, keep: int = 2) -> None:
        self._store, self._device, self._keep = store, device, keep
        self._kept: OrderedDict[tuple[str, int, Layers | None], GraphModule] = OrderedDict()

    def load(self, trial: str, epoch: int, layers: tuple[str, ...] | None = None) -> GraphModule:
        """Return the network on the loader's device: see :func:`load_network`. Nobody may change it."""
        key = (trial, epoch, layers)
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = load_network(self._store, trial, epoch, layers).to(self._device)
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return self._kept[key]


class _Given:
    """Carries what a skeleton is built from past the cache, which goes by the architecture's text."""

    def __init__(self, configuration: Configuration, facts: dict[str, object]) -> None:
        self.configuration, self.facts = configuration, facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given)

    def __hash__(self) -> int:
        return 0


def _architecture(configuration: Configuration, facts: dict[str, object]) -> str:
    parts = [configuration.values[key] for key in ("model", "task")]
    return json.dumps([*parts, {name: facts[name] for name in sorted(facts)}], sort_keys=True, default=str)


@functools.lru_cache(maxsize=64)
def _skeleton(architecture: str, layers: tuple[str, ...] | None, given: _Given) -> GraphModule | None:
    if given.configuration.values["model"] is None:
        return None
    model = skeleton(given.configuration, given.facts)
    if not isinstance(model, GraphModule):
        return None  # tracing may look at values
    return model if layers is None else model.submodel(outputs=layers)


def _as_graph(model: torch.nn.Module) -> GraphModule:
    return model if isinstance(model, GraphModule) else GraphModule.trace(model).eval()
