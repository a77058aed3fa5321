"""A store as a notebook sees it: sweeps as pandas frames, trials as models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import StoreError, did_you_mean
from nnray.store.files import readable
from nnray.store.finding import find_trial
from nnray.store.loading import load_model
from nnray.store.location import existing_store
from nnray.store.stored_trial import StoredTrial
from nnray.store.tables import METRIC_KEY, MODE_KEY, sweeps_with_tables
from nnray.trial.paths import StorePaths

if TYPE_CHECKING:
    import pandas as pd
    import torch

MIN_PREFIX = 4
"""Fewest digits of a signature that are taken for the whole."""


def open(store: str | Path | None = None) -> Store:  # noqa: A001 - called as nnray.open
    """Return the store at ``store``, else at ``$NNRAY_STORE``, else at ``./nnray-store``.

    Raises:
        StoreError: If there is none.
    """
    return Store(existing_store(store))


class Store:
    """What was trained, by sweep and by trial; to be had from :func:`open`."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._paths.root

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps that have tables, in order."""
        return sweeps_with_tables(self._paths)

    def trials(self, sweep: str) -> pd.DataFrame:
        """Return a row per trial: status, configuration (``config/<key>``), last and best values of metrics."""
        return self._frame(sweep, "trials")

    def metrics(self, sweep: str) -> pd.DataFrame:
        """Return a row per trial and finished epoch."""
        return self._frame(sweep, "metrics")

    def checkpoints(self, sweep: str) -> pd.DataFrame:
        """Return a row per kept checkpoint; ``path`` is where it lies now, also if the store was moved."""
        frame = self._frame(sweep, "checkpoints")
        places = zip(frame["trial"], frame["epoch"], strict=True)
        frame["path"] = [str(self._paths.trial(trial).checkpoint(epoch)) for trial, epoch in places]
        return frame.astype({"path": "str"})

    def metric(self, sweep: str) -> tuple[str | None, str | None]:
        """Return the metric that a sweep looks at and its mode (``max`` or ``min``); None and None if it names none."""
        import pyarrow.parquet as pq

        self._check(sweep)
        metadata = pq.read_schema(readable(self._paths.table(sweep, "trials"))).metadata or {}
        metric, mode = metadata.get(METRIC_KEY.encode()), metadata.get(MODE_KEY.encode())
        return metric and metric.decode(), mode and mode.decode()

    def trial(self, signature: str) -> StoredTrial:
        """Return a trial's record, configuration, metrics and checkpoints as its folder tells them.

        Args:
            signature: The trial's, or its first digits (four at least) if no other trial begins so.
        """
        if len(signature) < MIN_PREFIX or "/" in signature:
            raise StoreError(f"there is no trial {signature!r} in {self.path}")
        return StoredTrial(find_trial(self._paths, signature))

    def load(self, signature: str, epoch: int | None = None) -> torch.nn.Module:
        """Return a trial's network in eval mode, on the CPU.

        Args:
            signature: The trial's, or its first digits (four at least) if no other trial begins so.
            epoch: The epoch (counted from 0) after which the weights were kept; by default the last one kept.

        Raises:
            StoreError: If there is no such trial or epoch; the message names the nearest.
        """
        return load_model(self.trial(signature).paths, epoch)

    def _frame(self, sweep: str, kind: str) -> pd.DataFrame:
        from nnray.store.table_files import read_frame

        self._check(sweep)
        path = self._paths.table(sweep, kind)
        try:
            return read_frame(path)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            reason = " ".join(str(error).split())
            raise StoreError(f"{path} cannot be read (nnray rebuild makes it anew): {reason}") from error

    def _check(self, sweep: str) -> None:
        if sweep not in (sweeps := self.sweeps()):
            hint = did_you_mean(sweep, sweeps) or "; nnray rebuild makes tables from the trial folders"
            raise StoreError(f"there is no sweep {sweep!r} in {self.path}{hint}")
