"""Activations on disk, read where they are used: by network, layer and range of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from nnray.errors import AnalysisError, did_you_mean
from nnray.store.table_files import read_frame

if TYPE_CHECKING:
    import xarray

INDEX = "index"
SAMPLES, LABELS = "samples.npy", "labels.npy"


class Extracted:
    """Activations of many networks; to be had from ``networks.extract``, or from the folder that it wrote.

    ``acts[trial, layer]`` or ``acts[trial, epoch, layer]`` is a memory-mapped NumPy array ``(n, ...)``: a slice of it
    reads no more than itself. A trial is named by its signature or the first digits of it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = self.folder / f"{INDEX}.parquet"
        if not index.is_file():
            raise AnalysisError(f"{folder} holds no activations: there is no {index.name}")
        self.index: pd.DataFrame = read_frame(index)
        """``trial``, ``epoch``, ``layer``, ``path``, ``shape``, ``dtype`` of every array."""
        self.errors: pd.DataFrame = read_frame(self.folder / "errors.parquet")
        """``trial``, ``epoch``, ``layer``, ``error`` of what could not be extracted."""

    @property
    def samples(self) -> np.ndarray:
        """Each row's place in the data set, ``(n,)``."""
        return np.load(self.folder / SAMPLES)

    @property
    def labels(self) -> np.ndarray | None:
        """Each row's class, ``(n,)``; None where there are no labels."""
        path = self.folder / LABELS
        return np.load(path) if path.exists() else None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: tuple[str, str] | tuple[str, int, str]) -> np.memmap:
        path = self.folder / self._row(key)["path"]
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise AnalysisError(f"{path} is lost or damaged: {error}") from error

    def torch(self, *key: str | int) -> torch.Tensor:
        """Return the activations of ``(trial, layer)`` or ``(trial, epoch, layer)`` as a tensor in memory."""
        return torch.from_numpy(np.array(self[key]))  # type: ignore[index]

    def xarray(self, *key: str | int) -> xarray.DataArray:
        """Return the activations with their coordinates: ``sample``, and ``label`` where there are labels.

        Raises:
            AnalysisError: If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise AnalysisError("xarray is not installed: pip install 'nnray[xarray]'") from error
        row, values = self._row(key), self[key]  # type: ignore[arg-type, index]
        coordinates = {"sample": self.samples}
        if self.labels is not None:
            coordinates["label"] = ("sample", self.labels)  # type: ignore[assignment]
        return xarray.DataArray(
            values,
            dims=["sample", *(f"axis{axis}" for axis in range(1, values.ndim))],
            coords=coordinates,
            name=str(row["layer"]),
            attrs={"trial": row["trial"], "epoch": int(row["epoch"])},
        )

    def _row(self, key: tuple[str, str] | tuple[str, int, str]) -> pd.Series:
        if not isinstance(key, tuple) or len(key) not in (2, 3):
            raise AnalysisError(f"{key!r}: acts[trial, layer] or acts[trial, epoch, layer] is expected")
        trial, *epoch, layer = key
        rows = self.index[self.index["trial"].str.startswith(str(trial))]
        if rows["trial"].nunique() != 1:
            hint = did_you_mean(str(trial), self.index["trial"])
            raise AnalysisError(f"{'several trials begin' if len(rows) else 'no trial begins'} with {trial!r}{hint}")
        if epoch:
            there = sorted(rows["epoch"].unique())
            rows = rows[rows["epoch"] == epoch[0]]
            if rows.empty:
                raise AnalysisError(f"trial {trial}: epoch {epoch[0]} is not here{did_you_mean('', map(str, there))}")
        elif rows["epoch"].nunique() > 1:
            raise AnalysisError(f"trial {trial} is here after several epochs: acts[trial, epoch, layer] names one")
        found = rows[rows["layer"] == layer]
        if found.empty:
            raise AnalysisError(f"trial {trial}: layer {layer!r} is not here{did_you_mean(str(layer), rows['layer'])}")
        return found.iloc[0]
