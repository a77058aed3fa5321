"""One trial as its folder tells it: the row that tables, MLflow and people's questions are answered from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nnray.errors import ConfigurationError, StoreError
from nnray.store.claim import is_claimed
from nnray.store.metrics_log import Row, checked_rows
from nnray.store.record import Record, Status
from nnray.store.weights import kept_epochs
from nnray.trial.merging import flatten, read_configuration_file
from nnray.trial.paths import TrialPaths


@dataclass(frozen=True)
class StoredTrial:
    """A view of a trial folder, read when asked for and then kept."""

    paths: TrialPaths

    @cached_property
    def _record_and_status(self) -> tuple[Record, Status]:
        record = self._read_record()
        if record.status != "running" or is_claimed(self.paths.claim):
            return record, record.status
        record = self._read_record()  # its runner may have finished, and let go, after the first look
        return record, "pending" if record.status == "running" else record.status

    def _read_record(self) -> Record:
        return Record.read(self.paths.record) or Record(signature=self.paths.signature)

    @property
    def record(self) -> Record:
        """The trial's record; of a trial that no runner has started yet, an empty one with the status ``pending``."""
        return self._record_and_status[0]

    @property
    def status(self) -> Status:
        """What became of the trial; one whose runner is gone without a word is ``pending`` again."""
        return self._record_and_status[1]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, nested; raises StoreError if it is missing, empty or damaged."""
        try:
            config = read_configuration_file(self.paths.config)
        except ConfigurationError as error:
            raise StoreError(str(error)) from error
        if not config:
            raise StoreError(f"{self.paths.config} is empty")
        return config

    @property
    def flat_config(self) -> dict[str, Any]:
        """The resolved configuration by dotted keys."""
        return flatten(self.config)

    @cached_property
    def rows(self) -> list[Row]:
        """A row of metrics per finished epoch; raises StoreError if they are not what was written."""
        try:
            count = self.record.rows
        except StoreError:  # the record is damaged, which hides nothing else
            return checked_rows(self.paths.metrics, None)
        try:
            return checked_rows(self.paths.metrics, count)
        except StoreError:
            record = self._read_record()  # a runner that begins anew may have said so after the first look
            if record.rows == count:
                raise
            return checked_rows(self.paths.metrics, record.rows)

    @cached_property
    def checkpoints(self) -> list[dict[str, Any]]:
        """A row per kept checkpoint: ``epoch``, ``step``, ``path`` (in the store), ``bytes``, the epoch's metrics."""
        by_epoch = {row["epoch"]: row for row in self.rows}
        rows = []
        for epoch, path in kept_epochs(self.paths).items():
            try:
                size = path.stat().st_size
            except FileNotFoundError:  # a later epoch has just taken its place
                continue
            row = {key: value for key, value in by_epoch.get(epoch, {}).items() if key != "time"}
            relative = path.relative_to(self.paths.folder.parent.parent).as_posix()
            rows.append({**row, "epoch": epoch, "path": relative, "bytes": size})
        return rows
