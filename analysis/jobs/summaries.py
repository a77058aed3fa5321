"""What a pair measure needs to know of every layer of a network, in one file per network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from analysis.activations import Patterns
from analysis.jobs.folder import part_key
from analysis.jobs.layer_parts import layers_by_parts
from analysis.loading import Loader
from analysis.networks import Network
from analysis.similarity.measure import PairMeasure, Tensors
from analysis.stimuli import Stimuli
from nnray.errors import AnalysisError
from nnray.store.files import local_file, replacing

KIND, SUFFIX = "summaries", ".safetensors"


def make_summary_work(
    stimuli: Stimuli,
    store: Path,
    folder: Path,
    patterns: Patterns,
    measure: PairMeasure,
    resampled: bool,
    memory: int,
    device: str,
) -> Callable[[Network], None]:
    """Return the work of a pool: a network's layers are shown the images, and what they are compared by is written.

    Args:
        stimuli: The images.
        store: The store's folder.
        folder: Where the files go.
        patterns: Names or globs of layers.
        measure: Tells what is written: a layer's summary.
        resampled: Whether to write what any choice of samples can be summarised from instead.
        memory: Bytes that activations may take: see :func:`analysis.jobs.layer_parts.layers_by_parts`.
        device: Where to compute.
    """
    loader = Loader(store, torch.device(device), keep=1)

    def work(network: Network) -> None:
        model = loader.load(network.trial, network.epoch, patterns)
        layers: dict[str, Tensors] = {}
        bad: dict[str, str] = {}
        for name, values in layers_by_parts(model, stimuli, patterns, torch.device(device), memory):
            try:
                kept = measure.kept(values)
                summary = measure.summary(kept)
                layers[name] = kept if resampled else summary
            except ValueError as error:
                bad[name] = str(error)
        write_summaries(folder / f"{part_key(network.trial, network.epoch)}{SUFFIX}", layers, bad)

    return work


def write_summaries(path: Path, layers: Mapping[str, Tensors], bad: Mapping[str, str]) -> None:
    """Write what is known of a network's layers in one step.

    Args:
        path: The file.
        layers: Tensors of each layer.
        bad: Layers that are left out, with the reason.
    """
    tensors = {
        f"{place}/{key}": value.detach().cpu().contiguous().clone()
        for place, layer in enumerate(layers.values())
        for key, value in layer.items()
    }
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"layers": json.dumps(list(layers)), "bad": json.dumps(dict(bad))})


def read_layers(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the layers in a file, and those left out with the reason.

    Raises:
        AnalysisError: If it is damaged.
    """
    try:
        with local_file(path) as local, safe_open(local, framework="pt") as file:
            facts = file.metadata()
    except (SafetensorError, OSError) as error:
        raise AnalysisError(f"{path} is damaged, delete it and try again: {error}") from error
    return json.loads(facts["layers"]), json.loads(facts["bad"])


def read_summaries(path: Path, device: torch.device) -> dict[str, Tensors]:
    """Return what is known of each layer."""
    names, _ = read_layers(path)
    layers: dict[str, Tensors] = {name: {} for name in names}
    with local_file(path) as local, safe_open(local, framework="pt", device=str(device)) as file:
        for key in file.keys():  # noqa: SIM118 - a file is no dict
            place, _, name = key.partition("/")
            layers[names[int(place)]][name] = file.get_tensor(key)
    return layers
