"""Layers of many networks on disk: a memory-mapped array per network and layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from analysis.activations import Patterns, activations, patterns_of
from analysis.extracted import INDEX, LABELS, SAMPLES, Extracted
from analysis.jobs.folder import ERRORS, JobFolder, part_key
from analysis.jobs.function_text import function_text
from analysis.jobs.growing_arrays import LAYERS, LEFT_OUT, growing_arrays
from analysis.jobs.per_network import FORWARD_BATCH, device_of, make_missing, part_of, some
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.reductions import Reduction, check_reduction, projected, reduced
from analysis.results import errors_frame
from analysis.stimuli import Data, Stimuli, make_stimuli
from nnray.errors import AnalysisError, did_you_mean
from nnray.store.files import is_local, replacing

DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
_VALUES = "values"


def extract(
    networks: Networks,
    layers: str | Sequence[str] = "*",
    *,
    data: Data = "test",
    n: int | None = None,
    reduce: Reduction = None,
    project: int | None = None,
    dtype: str | torch.dtype = "float32",
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
) -> Extracted:
    """Write layers of all networks to disk and return them as a table of arrays that are read when they are used.

    A layer is left out, and among the errors, if one of its values is not finite, or too large for ``dtype``.

    Args:
        networks: The networks.
        layers: Names or globs.
        data: What the networks are shown: see :func:`analysis.stimuli.make_stimuli`.
        n: How many images; None for all.
        reduce: See :func:`analysis.reductions.reduced`.
        project: Keep so many random dimensions of larger layers: see :func:`analysis.reductions.projected`.
        dtype: ``float16``, ``float32`` or ``float64``, of what is kept, by name or as PyTorch's.
        seed: Of the choice and the order of the images, and of the projection.
        name: The folder under ``analysis/`` in the store; what it holds already is not computed again.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.

    Raises:
        AnalysisError: If an argument cannot be meant, or every network fails.
    """
    dtype = str(dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise AnalysisError(f"dtype: there is no {dtype!r}{did_you_mean(dtype, DTYPES)}")
    if project is not None and project < 1:
        raise AnalysisError(f"project is {project}, where a positive number of dimensions is expected")
    check_reduction(reduce)
    patterns = patterns_of(layers)
    some(networks)
    stimuli = make_stimuli(networks, data, n, seed)
    reduction = function_text(reduce) if callable(reduce) else reduce
    specification = {
        "layers": list(patterns),
        "stimuli": stimuli.fingerprint,
        "reduce": reduction,
        "project": project,
        "dtype": dtype,
        "seed": seed,
    }
    if not is_local(networks.store):
        raise AnalysisError(
            f"activations are arrays mapped into memory, which need a store in a folder, not {networks.store}; "
            "networks.map(...) and the measures by name keep nothing of that kind"
        )
    folder = JobFolder(networks.store, "activations", specification, name)
    folder.open(networks)
    _write_coordinates(folder, stimuli)
    keep = _Keep(reduce, project, dtype, seed)
    shared = (stimuli, networks.store, folder.path / _VALUES, patterns, keep, device_of(actors))
    with pool_of(actors) as pool:
        errors = make_missing(networks, folder, _VALUES, "", make_extraction_work, shared, pool, len(stimuli))
    rows = []
    for network in networks:
        part = part_of(folder, _VALUES, network, "")
        rows += _rows(part, network)
        if (left_out := part / LEFT_OUT).is_file():
            reasons = json.loads(left_out.read_text(encoding="utf-8"))
            errors += [(network.trial, network.epoch, layer, reason) for layer, reason in reasons.items()]
    if not rows:
        folder.give_up(f"every network failed: {errors[0][3]}" if errors else "there are no networks")
    folder.write_table(INDEX, pa.Table.from_pylist(rows))
    folder.write_table(ERRORS, pa.Table.from_pandas(errors_frame(errors), preserve_index=False))
    return Extracted(folder.path)


class _NotFiniteError(ValueError):
    """A layer has values that cannot be kept."""


class _Keep:
    """What is kept of a layer's values."""

    def __init__(self, reduction: Reduction, project: int | None, dtype: str, seed: int) -> None:
        self._reduction, self._project, self._dtype, self._seed = reduction, project, dtype, seed

    def __call__(self, values: torch.Tensor) -> np.ndarray:
        """Return it.

        Raises:
            _NotFiniteError: If a value is not finite.
        """
        kept = reduced(values.contiguous() if callable(self._reduction) else values, self._reduction)
        if self._project is not None:
            kept = projected(kept, self._project, self._seed)
        kept = kept.to(DTYPES[self._dtype]).contiguous()  # PyTorch rounds to float16 many times faster than NumPy
        # A sum tells it in one pass; it may be too large itself.
        total = kept.sum(dtype=torch.promote_types(kept.dtype, torch.float32))
        if not bool(torch.isfinite(total)) and not bool(torch.isfinite(kept).all()):
            bad = int((~torch.isfinite(values.reshape(len(values), -1))).any(dim=1).sum())
            if bad:
                raise _NotFiniteError(f"activations of {bad} of {len(values)} images are not finite")
            raise _NotFiniteError(f"what is kept of the activations is not finite in {self._dtype}")
        return kept.cpu().numpy()


def make_extraction_work(
    stimuli: Stimuli, store: Path, folder: Path, patterns: Patterns, keep: _Keep, device: str
) -> Callable[[Network], None]:
    """Return the work of a pool: a network's layers are written to a folder of its own, from where a kill left it."""
    loader = Loader(store, torch.device(device), keep=1)

    def work(network: Network) -> None:
        with growing_arrays(folder / part_key(network.trial, network.epoch), len(stimuli)) as arrays:
            if arrays.done == len(stimuli):
                return
            model = loader.load(network.trial, network.epoch, patterns)
            for images in stimuli.batches(FORWARD_BATCH, torch.device(device), arrays.done):
                rows = {}
                for layer, values in activations(model, images, patterns).items():
                    if layer not in arrays.left_out:
                        try:
                            rows[layer] = keep(values)
                        except _NotFiniteError as error:
                            arrays.left_out[layer] = (
                                f"{error} (images {arrays.done} to {arrays.done + len(images) - 1})"
                            )
                arrays.write(rows, len(images))

    return work


def _write_coordinates(folder: JobFolder, stimuli: Stimuli) -> None:
    for name, values in ((SAMPLES, stimuli.samples), (LABELS, stimuli.labels)):
        path = folder.path / name
        if values is not None and not path.exists():
            with replacing(path) as beside, beside.open("wb") as file:
                np.save(file, values)


def _rows(place: Path, network: Network) -> list[dict[str, Any]]:
    if not place.is_dir():
        return []
    rows = []
    for number, layer in enumerate(json.loads((place / LAYERS).read_text(encoding="utf-8"))):
        path = place / f"{number}.npy"
        array = np.load(path, mmap_mode="r")
        rows.append(
            {
                "trial": network.trial,
                "epoch": network.epoch,
                "layer": layer,
                "path": path.relative_to(place.parent.parent).as_posix(),
                "shape": list(array.shape),
                "dtype": str(array.dtype),
            }
        )
    return rows
