"""Where a job keeps what it has done: ``analysis/<name>/`` in the store, a part per piece of work.

A part is written beside and renamed, so that it is whole or not there; a job that is started again does what is
missing. What a job computes is told by ``job.json``: a name stands for one computation.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from nnray.errors import AnalysisError
from nnray.store.files import remove_leftovers, remove_tree, replacing, write_text
from nnray.store.space import note_references

if TYPE_CHECKING:
    from analysis.networks import Network

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ERRORS = "errors"
UNFINISHED = ".unfinished"
"""How the folder of a part that is being written is called in the end; its name begins with a dot."""

_LEFTOVER_S = 3600.0
"""What is this old was left by a kill: another command with the same job may be writing what is younger."""


class JobFolder:
    """The folder of one job; made when it is first written to.

    Args:
        store: The store's folder.
        kind: What is computed: ``cka``, ``activations``, ...
        arguments: Everything that the result depends on but the networks: more of them can be added later.
        name: The folder's name; None for the kind and a hash of the arguments.

    Raises:
        AnalysisError: If the name cannot be a folder's, or the folder is another computation's.
    """

    def __init__(self, store: Path, kind: str, arguments: Mapping[str, Any], name: str | None = None) -> None:
        self._text = json.dumps({"kind": kind, "arguments": arguments}, indent=2, sort_keys=True) + "\n"
        name = name or f"{kind}-{hashlib.sha256(self._text.encode()).hexdigest()[:8]}"
        if not _NAME.fullmatch(name):
            raise AnalysisError(f"{name!r} cannot name an analysis: use letters, digits, '.', '_' and '-'")
        self.path = store / "analysis" / name
        there = self.path / "job.json"
        if there.is_file() and there.read_text(encoding="utf-8") != self._text:
            raise AnalysisError(
                f"analysis {name!r} holds another computation ({_difference(there, self._text)}): choose another name"
            )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def open(self, networks: Iterable[Network]) -> None:
        """Make the folder, clear away what a kill left half written, and note what it is going to be made of.

        Args:
            networks: Their weights stay from now on: see :mod:`nnray.store.space`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        note_references(self.path, ((network.trial, network.epoch) for network in networks))
        for folder in (self.path, *(entry for entry in self.path.iterdir() if entry.is_dir())):
            remove_leftovers(folder, _LEFTOVER_S)
            _remove_unfinished(folder)
        if not (self.path / "job.json").exists():
            write_text(self.path / "job.json", self._text)

    def give_up(self, reason: str) -> NoReturn:
        """Raise AnalysisError; where nothing has been computed, nothing is left behind that keeps weights."""
        folders = [entry for entry in self.path.iterdir() if entry.is_dir()]
        if not any(True for folder in folders for _ in folder.iterdir()):
            remove_tree(self.path)
        raise AnalysisError(reason)

    def part(self, kind: str, key: str, suffix: str) -> Path:
        """Return where a part lies; its folder is there, the part may not be."""
        folder = self.path / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{key}{suffix}"

    def write_table(self, name: str, table: pa.Table) -> Path:
        """Write ``<name>.parquet`` in one step."""
        path = self.path / f"{name}.parquet"
        # Figures hardly repeat: a dictionary of them and their statistics are half of the time that writing takes.
        others = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        with replacing(path) as beside:
            pq.write_table(table, beside, use_dictionary=others, write_statistics=others)
        return path


def part_key(trial: str, epoch: int) -> str:
    """Return what the parts of a network are called."""
    return f"{trial}-epoch={epoch:04d}"


def _remove_unfinished(folder: Path) -> None:
    """Remove folders of parts that a kill left half written and that are whole by now, by another writer.

    Those of other parts stay: the next worker goes on from there.
    """
    for leftover in folder.glob(f".*{UNFINISHED}"):
        part = leftover.name.removeprefix(".").removesuffix(UNFINISHED).rpartition(".")[0]
        if not (folder / part).exists():
            continue
        try:
            newest = max(path.stat().st_mtime for path in (leftover, *leftover.iterdir()))
        except FileNotFoundError:  # it is whole now, or removed
            continue
        if time.time() - newest > _LEFTOVER_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _difference(there: Path, text: str) -> str:
    try:
        old, new = json.loads(there.read_text(encoding="utf-8")), json.loads(text)
    except ValueError:
        return "its job.json is damaged"
    if old.get("kind") != new["kind"]:
        return f"{old.get('kind')}, not {new['kind']}"
    before, now = old.get("arguments", {}), new["arguments"]
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return ", ".join(f"{key}: {before.get(key)!r}, not {now.get(key)!r}" for key in differing[:2])
