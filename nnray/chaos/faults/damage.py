"""Files whose content is no longer what was written: cut short, or with bytes changed."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from random import Random
from typing import ClassVar

from nnray.chaos.faults.fault import Fault
from nnray.chaos.stage import Stage

_PATTERNS = (
    "trials/*/resume.ckpt",
    "trials/*/metrics*",
    "trials/*/record.json",
    "trials/*/config.yaml",
    "trials/*/checkpoints/*.safetensors",
    "trials/*/claim*",
    "trials/*/sweeps/*.json",
    "tables/**/*.parquet",
    "mlflow.db",
)
"""The files whose damage matters; a kind is chosen first, then a file of it."""
_MOST_BYTES = 8


class Damage(Fault):
    """A file of a store on which a command has ended, or was killed."""

    damages = True
    what: ClassVar[str]

    def strike(self, stage: Stage) -> None:
        """Begin the study, or train all of it, and damage one of its files."""
        command = stage.sweep()
        if stage.random.random() < 0.5:
            moment = stage.reach_moment(command)
            command.kill_session()
            stage.note(f"SIGKILL {moment}", kills=1)
        stage.end_of(command)
        command.wait_for_session(20.0)
        if not (kinds := _files(stage.store.root)):  # killed before it wrote anything
            stage.end_of(stage.sweep())
            kinds = _files(stage.store.root)
        path = stage.random.choice(stage.random.choice(kinds))
        content = path.read_bytes()
        changed = self.damaged(content, stage.random)
        path.write_bytes(changed)  # in place, as a disk does it
        relative = path.relative_to(stage.store.root)
        stage.damaged = relative
        stage.note(f"{self.what} {relative} ({_difference(content, changed)})")

    @abstractmethod
    def damaged(self, content: bytes, random: Random) -> bytes:
        """Return what becomes of the content of a file, which is not empty."""


class Truncated(Damage):
    """A file that ends too early."""

    name = "truncate"
    about = "a file of the store is cut short"
    what = "cut"

    def damaged(self, content: bytes, random: Random) -> bytes:
        """Cut it."""
        return content[: random.randrange(len(content))]


class Flipped(Damage):
    """A file in which bits have changed."""

    name = "flip"
    about = "a few bytes of a file of the store are changed"
    what = "changed bytes of"

    def damaged(self, content: bytes, random: Random) -> bytes:
        """Change up to eight bytes."""
        changed = bytearray(content)
        for _ in range(random.randint(1, _MOST_BYTES)):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        return bytes(changed)


def _files(root: Path) -> list[list[Path]]:
    """Return the files that are not empty, by kind; no kind without any."""
    kinds = ([path for path in sorted(root.glob(pattern)) if path.stat().st_size] for pattern in _PATTERNS)
    return [kind for kind in kinds if kind]


def trial_of(path: Path) -> str | None:
    """Return the signature of the trial in whose folder ``path``, relative to the store, lies."""
    return path.parts[1] if path.parts[0] == "trials" else None


def _difference(before: bytes, after: bytes) -> str:
    if len(after) < len(before):
        return f"{len(after)} of {len(before)} bytes"
    places = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return f"at {', '.join(map(str, places))} of {len(before)}"
