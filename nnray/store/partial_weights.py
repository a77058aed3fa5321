"""Single tensors out of a checkpoint in a bucket: its header says where they lie, and nothing else is fetched.

The format: https://github.com/huggingface/safetensors#format. What was fetched is put together to a smaller file of the
same kind, so that safetensors itself makes tensors of it, and refuses what it refuses in any file.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.store.files import read_at_most, read_ranges
from nnray.store.json_files import parse_json

if TYPE_CHECKING:
    import torch

_LENGTH = 8
"""Bytes at the beginning that say how long the header is."""
_LONGEST = 100_000_000
"""Bytes of the longest header, as safetensors has it."""
_FIRST = 64 << 10
"""Bytes that are fetched first: the header of most networks, and all of a small one."""
_METADATA = "__metadata__"


class PartialFile:
    """A checkpoint in a bucket, of which the header is known.

    Args:
        path: The file.

    Attributes:
        metadata: What its header says beside the tensors.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: Its header is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first = read_at_most(path, _FIRST)
        self._begin = _LENGTH + int.from_bytes(self._first[:_LENGTH], "little")
        if self._begin > _LONGEST:
            raise ValueError("its header is too long")
        if self._begin > len(self._first):
            self._first = read_at_most(path, self._begin)
        self._entries: dict[str, Any] = parse_json(self._first[_LENGTH : self._begin].decode("utf-8"))
        if not isinstance(self._entries, dict) or not all(isinstance(entry, dict) for entry in self._entries.values()):
            raise ValueError("its header is not that of a checkpoint")
        self.metadata: dict[str, str] = self._entries.pop(_METADATA, {})

    def names(self) -> list[str]:
        """Return the names of all tensors, in order."""
        return sorted(self._entries)

    def tensors(self, names: Collection[str]) -> dict[str, torch.Tensor]:
        """Return the tensors of these names, which must be there.

        Raises:
            OSError: They cannot be read.
            ValueError: The header says of one what cannot be.
            SafetensorError: As above.
        """
        from safetensors.torch import load

        places = [self._place(name) for name in names]
        header, offset = {}, 0
        for name, (start, end) in zip(names, places, strict=True):
            header[name] = self._entries[name] | {"data_offsets": [offset, offset + end - start]}
            offset += end - start
        text = json.dumps(header).encode()
        return load(b"".join([len(text).to_bytes(_LENGTH, "little"), text, *self._parts(places)]))

    def _place(self, name: str) -> tuple[int, int]:
        offsets = self._entries[name].get("data_offsets")
        if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
            raise ValueError(f"its header does not say where {name} is")
        start, end = offsets
        if not 0 <= start <= end:
            raise ValueError(f"its header says that {name} ends before it begins")
        return self._begin + start, self._begin + end

    def _parts(self, places: list[tuple[int, int]]) -> list[bytes]:
        if all(end <= len(self._first) for _, end in places):
            return [self._first[start:end] for start, end in places]
        return read_ranges(self._path, places)
