"""What is kept of a pair of networks that were stitched: a row per combination, and the layers in between."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from analysis.jobs.folder import part_key
from analysis.jobs.mapping import read_rows
from analysis.networks import Network
from nnray.errors import AnalysisError
from nnray.store.files import local_file, replacing

ROWS, LAYERS = "rows", "layers"

Pair = tuple[Network, Network]
Layer = tuple[list[list[int]], dict[str, torch.Tensor]]
"""The shapes that a stitching layer leads from and to, and its tensors by their names."""


def pair_key(pair: Pair) -> str:
    """Return what the parts of a pair are called."""
    return "--".join(part_key(network.trial, network.epoch) for network in pair)


@dataclass(frozen=True)
class Via:
    """A stitching layer and the shapes of one image's activations that it leads from and to."""

    layer: nn.Module
    old: torch.Size
    new: torch.Size


@dataclass(frozen=True)
class Known:
    """A combination that another job has made: its row, and its layer as :func:`read_layers` gives it."""

    row: Mapping[str, Any]
    layer: Layer


class Part:
    """A pair's rows and layers, which are written together: layers first."""

    def __init__(self, key: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self._key, self._file = key, f"{LAYERS}/{key}.safetensors"
        self._tensors: dict[str, torch.Tensor] = {}
        self._shapes: dict[str, Any] = {}

    def made(self, row: dict[str, Any], via: Via) -> dict[str, Any]:
        """Take a combination's stitching layer as it is now, and return its row."""
        signature = row["signature"]
        tensors = via.layer.state_dict()
        self._tensors |= {f"{signature}/{key}": value.cpu().clone() for key, value in tensors.items()}
        self._shapes[signature] = [list(via.old), list(via.new)]
        return {**row, "path": self._file, "error": None}

    def taken(self, known: Known) -> dict[str, Any]:
        """Take a combination's stitching layer as another job has made it, and return its row."""
        signature = known.row["signature"]
        self._shapes[signature], tensors = known.layer
        self._tensors |= {f"{signature}/{key}": value for key, value in tensors.items()}
        return {**known.row, "path": self._file}

    def write(self, folder: Path) -> None:
        """Write both files to a job's folder."""
        with replacing(folder / self._file) as beside:
            save_file(self._tensors, beside, metadata={"shapes": json.dumps(self._shapes)})
        with replacing(folder / ROWS / f"{self._key}.parquet") as beside:
            frame = pd.DataFrame(self.rows).astype({"rank": "Int64"})
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), beside)


def read_layers(path: Path) -> dict[str, Layer]:
    """Return the stitching layers in a file by their signatures.

    Raises:
        AnalysisError: If it is lost or damaged.
    """
    try:
        with local_file(path) as local, safe_open(local, framework="pt") as file:
            shapes = json.loads((file.metadata() or {}).get("shapes", "{}"))
            layers: dict[str, Layer] = {signature: (shape, {}) for signature, shape in shapes.items()}
            for name in file.keys():  # noqa: SIM118 - a file is no dict
                signature, _, key = name.partition("/")
                layers[signature][1][key] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise AnalysisError(f"{path} is lost or damaged: {error}") from error
    return layers


def known_of(key: str, others: Sequence[Path]) -> dict[str, Known]:
    """Return by signature what other jobs know of a pair; what cannot be read is made again."""
    known: dict[str, Known] = {}
    for other in others:
        path = other / ROWS / f"{key}.parquet"
        if not path.exists():
            continue
        with contextlib.suppress(AnalysisError, KeyError):
            layers = read_layers(other / LAYERS / f"{key}.safetensors")
            for row in read_rows(path).to_dict("records"):
                if row["signature"] in layers:  # else it is an error's
                    known.setdefault(
                        row["signature"],
                        Known({str(name): value for name, value in row.items()}, layers[row["signature"]]),
                    )
    return known
