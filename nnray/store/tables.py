"""Parquet tables of a sweep: a row per trial, per epoch and per kept checkpoint, made from what the folders say.

A metric whose name a column of the table has already (a metric called ``status``, say) stands under ``metric/<name>``.
Every table carries the version of nnray, the sweep and its metric in its schema's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import pyarrow as pa

from nnray.store.listed_trial import ListedTrial
from nnray.store.metrics_log import default_mode
from nnray.store.parquet_file import write_parquet
from nnray.store.table_block import EMPTY, TABLES, TableBlock, TableColumns
from nnray.trial.paths import StorePaths

METRIC_KEY, MODE_KEY = "nnray.metric", "nnray.mode"
"""Where a table's metadata tells the metric that the sweep looks at."""

_BLOCK = 128
"""Trials whose rows are made together."""


def sweeps_with_tables(store: StorePaths) -> list[str]:
    """Return the names of the sweeps that have tables, in order."""
    return sorted(path.parent.name for path in store.tables.glob(f"*/{TABLES[-1]}.parquet"))


def write_tables(
    store: StorePaths, sweep: str, trials: Sequence[ListedTrial], blocks: TableBlocks | None = None
) -> None:
    """Write the three tables of ``sweep``, each in one step.

    Args:
        store: The store.
        sweep: The sweep's name.
        trials: Its trials, in the order of the rows.
        blocks: What was made of these trials before, which is then not made again.
    """
    metadata = _provenance(sweep, trials)
    for kind, table in (blocks or TableBlocks()).tables(trials).items():
        path = store.table(sweep, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(table.schema.with_metadata(metadata), table.parts, path)


class BlockwiseTable(NamedTuple):
    """A table that is made while it is written.

    Attributes:
        schema: Its columns.
        parts: Yields its rows, in tables of the rows of some trials each; may be called again.
    """

    schema: pa.Schema
    parts: Callable[[], Iterator[pa.Table]]


class TableBlocks:
    """The tables of a sweep, of which only the blocks are made again whose trials have changed."""

    def __init__(self) -> None:
        self._blocks: list[TableBlock] = []

    def tables(self, trials: Sequence[ListedTrial]) -> dict[str, BlockwiseTable]:
        """Return the tables of ``trials`` by kind, in the order of :data:`TABLES`.

        Args:
            trials: The trials, in the order of the rows. One that has changed since the last call is another object.
        """
        groups = [trials[start : start + _BLOCK] for start in range(0, len(trials), _BLOCK)] or [()]
        known = [*self._blocks[: len(groups)], *[None] * (len(groups) - len(self._blocks))]
        self._blocks = [
            block if block is not None and block.is_of(group) else TableBlock(group)
            for block, group in zip(known, groups, strict=True)
        ]
        columns = TableColumns.of(self._blocks)

        def table(kind: str) -> BlockwiseTable:
            schema, blocks = EMPTY.table(kind, columns).schema, self._blocks
            return BlockwiseTable(schema, lambda: (block.table(kind, columns) for block in blocks))

        return {kind: table(kind) for kind in TABLES}


def _provenance(sweep: str, trials: Sequence[ListedTrial]) -> dict[str, str]:
    memberships = [listed.membership for listed in trials if listed.membership.metric]
    metadata = {"nnray.version": nnray_version(), "nnray.sweep": sweep}
    if memberships:
        metric = str(memberships[0].metric)
        metadata |= {METRIC_KEY: metric, MODE_KEY: memberships[0].mode or default_mode(metric)}
    return metadata


def nnray_version() -> str:
    """Return the version of nnray, or ``unknown`` where it runs without being installed."""
    try:
        return version("nnray")
    except PackageNotFoundError:
        return "unknown"
