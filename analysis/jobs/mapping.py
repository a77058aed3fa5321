"""A function of a network and its layers, run on every network; what it returns becomes rows of a table."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from analysis.activations import Patterns, patterns_of
from analysis.jobs.folder import ERRORS, JobFolder, part_key
from analysis.jobs.function_text import function_name, function_text
from analysis.jobs.per_network import all_activations, device_of, make_missing, part_of, some
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.results import Rows, errors_frame
from analysis.stimuli import Data, Stimuli, make_stimuli
from nnray.errors import AnalysisError
from nnray.store.files import replacing
from nnray.store.table_files import read_frame

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a mapped function gets beside the network.

    Attributes:
        activations: Layers by name, ``(n, ...)``.
        labels: ``(n,)`` integers, or None.
        samples: ``(n,)``: each image's place in the data set.
    """

    activations: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    samples: torch.Tensor


def map_networks(
    networks: Networks,
    function: Function,
    layers: str | Sequence[str] = (),
    *,
    data: Data = "test",
    n: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Rows:
    """Return what ``function`` says of every network, as rows of one frame.

    Args:
        networks: The networks.
        function: ``function(network, activations)`` with the layers by name, each ``(n, ...)``; a third argument, if
            it takes one called ``shown``, is the :class:`Shown` with labels and samples. It returns a number, text or
            array (a column ``value``), a mapping (a column per key), or a frame (its rows).
        layers: Names or globs; left out, the function gets no activations and the images are not needed.
        data: What the networks are shown: see :func:`analysis.stimuli.make_stimuli`.
        n: How many images; None for all.
        seed: Of the choice and the order of the images.
        name: The folder under ``analysis/``; None for one after the function's name and its source.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.
        arguments: Further arguments of the function, plain data.

    Returns:
        ``trial``, ``epoch`` and the columns that the function makes; ``errors`` tells what failed,
        ``attrs["folder"]`` where the table lies.

    Raises:
        AnalysisError: If ``function`` is none, or every network fails.
    """
    if not callable(function):
        raise AnalysisError(f"map takes a function of a network and its layers, not {function!r}")
    patterns = patterns_of(layers) if layers else ()
    some(networks)
    stimuli = make_stimuli(networks, data, n, seed) if patterns else None
    specification = {
        "function": function_name(function),
        "source": hashlib.sha256(function_text(function).encode()).hexdigest()[:16],
        "layers": list(patterns),
        "stimuli": stimuli.fingerprint if stimuli else None,
        "arguments": dict(arguments or {}),
    }
    folder = JobFolder(networks.store, _folder_name(function), specification, name)
    folder.open(networks)
    device = device_of(actors)
    shared = (function, dict(arguments or {}), stimuli, networks.store, folder.path / _ROWS, patterns, device)
    images = len(stimuli) if stimuli else 0
    with pool_of(actors) as pool:
        errors = make_missing(networks, folder, _ROWS, _SUFFIX, make_map_work, shared, pool, images)
    paths = [part_of(folder, _ROWS, network, _SUFFIX) for network in networks]
    frames = [read_rows(path) for path in paths if path.exists()]
    if not frames:
        folder.give_up(f"every network failed: {errors[0][3]}")
    result = Rows(one_type_a_column(pd.concat(frames, ignore_index=True)))
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    failures = errors_frame(errors)
    folder.write_table(ERRORS, pa.Table.from_pandas(failures, preserve_index=False))
    result.errors = failures
    result.attrs["folder"] = str(folder.path)
    return result


_ROWS, _SUFFIX = "rows", ".parquet"


def make_map_work(
    function: Function,
    arguments: Mapping[str, Any],
    stimuli: Stimuli | None,
    store: Path,
    folder: Path,
    patterns: Patterns,
    device: str,
) -> Callable[[Network], None]:
    """Return the work of a pool: the function's rows of a network are written to ``folder``."""
    loader = Loader(store, torch.device(device), keep=1)
    takes_shown = "shown" in inspect.signature(function).parameters

    def work(network: Network) -> None:
        values: dict[str, torch.Tensor] = {}
        further = dict(arguments)
        if stimuli is not None:
            model = loader.load(network.trial, network.epoch, patterns)
            values = all_activations(model, stimuli, patterns, torch.device(device))
            if takes_shown:
                labels = None if stimuli.labels is None else torch.tensor(stimuli.labels)
                further["shown"] = Shown(values, labels, torch.tensor(stimuli.samples))
        rows = _rows(function(network, values, **further))
        own = pd.DataFrame({"trial": network.trial, "epoch": network.epoch}, index=rows.index)
        rows = pd.concat([own, rows.drop(columns=own.columns, errors="ignore")], axis=1)
        try:
            table = pa.Table.from_pandas(rows, preserve_index=False)
        except pa.ArrowException as error:
            reason = " ".join(str(error.args[0]).split())
            raise AnalysisError(f"{function_name(function)} returns what a table cannot hold: {reason}") from error
        with replacing(folder / f"{part_key(network.trial, network.epoch)}{_SUFFIX}") as beside:
            pq.write_table(table, beside)

    return work


def read_rows(path: Path) -> pd.DataFrame:
    """Return a part's rows.

    Raises:
        AnalysisError: If it is damaged.
    """
    try:
        return read_frame(path)
    except (OSError, pa.ArrowException) as error:
        raise AnalysisError(f"{path} is damaged, delete it and try again: {error}") from error


def one_type_a_column(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that Parquet takes: where networks give values of types that don't mix, they become text."""
    for column in frame.columns:
        try:
            pa.array(frame[column], from_pandas=True)
        except pa.ArrowException:
            frame[column] = [None if value is None else str(value) for value in frame[column]]
    return frame


def _rows(value: Any) -> pd.DataFrame:
    if isinstance(value, pd.DataFrame):
        return value.reset_index(drop=True)
    columns = value if isinstance(value, Mapping) else {"value": value}
    return pd.DataFrame({str(key): [_plain(cell)] for key, cell in columns.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _folder_name(function: Function) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", function_name(function).rpartition(".")[2]).strip("_") or "map"
