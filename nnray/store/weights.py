"""Checkpoints: weights and buffers alone as safetensors, which nobody has to unpickle, readable layer by layer.

The header holds a CRC-32 of each tensor: of its name, type and shape as well as of its bytes, so that whatever a
flipped bit makes of the file, no tensor but the one that was saved is ever returned. With a checksum per tensor a layer
can be checked that is read alone. CRC-32 finds accidents, as it does in zip files, at 4 GB/s (SHA-256: 1.8 GB/s); a
forger could write whatever checksum he needs beside his tensors.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import StoreError
from nnray.store.files import Fence, is_local, local_file, unfenced, writing_once
from nnray.store.partial_weights import PartialFile
from nnray.trial.paths import TrialPaths, checkpoint_epoch

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

TASK_PREFIX = "task:"
"""What the names of tensors begin with that belong to the task around the model, and not to the model."""

_CHECKSUMS = "crc32"
"""The one entry of the header's metadata (of several, safetensors would not keep the order): eight hexadecimal digits
per tensor, in the order of their names."""


def save_weights(path: Path, state: Tensors, fence: Fence = unfenced) -> None:
    """Write a state dict in one step; tensors that share memory are written once each, under their own names.

    Args:
        path: The file. If it is there with the same content, it is left as it is.
        state: The tensors by name.
        fence: Raises if this process may no longer write to the trial.
    """
    from safetensors.torch import save_file

    tensors = _unshared(state)
    checksums = " ".join(f"{_checksum(name, tensors[name]):08x}" for name in sorted(tensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_once(path, fence) as beside:
        save_file(tensors, beside, metadata={_CHECKSUMS: checksums})


def load_weights(path: Path, names: Collection[str] | None = None, device: str = "cpu") -> Tensors:
    """Return the state dict at ``path``, or those of its tensors that ``names`` names, mapped into memory and checked.

    Of a file in a bucket only the header and these tensors are fetched.

    Files that others have made have no checksums; their tensors are returned as they are.

    Raises:
        StoreError: If the file is missing or damaged, or has no tensor of one of the names.
    """
    from safetensors import SafetensorError

    try:
        if names is not None and not is_local(path):
            tensors, there, checksums = _read_parts(path, names, device)
        else:
            tensors, there, checksums = _read_file(path, names, device)
    except FileNotFoundError as error:
        raise StoreError(f"there is no checkpoint {path}") from error
    except ConnectionError:  # of an object store: the file may well be whole
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if checksums is not None:
        expected = dict(zip(there, checksums.split(), strict=False))
        for name, tensor in tensors.items():
            if expected.get(name) != f"{_checksum(name, tensor):08x}":
                raise StoreError(f"{path} is damaged: {name} is not what was saved (its checksum differs)")
    return tensors


def _read_file(path: Path, names: Collection[str] | None, device: str) -> tuple[Tensors, list[str], str | None]:
    """Return the tensors, the names of all that there are, and their checksums."""
    from safetensors import safe_open

    with local_file(path) as local, safe_open(local, framework="pt", device=device) as file:
        there = sorted(file.keys())
        _check_names(path, names or (), there)
        tensors = {name: file.get_tensor(name) for name in (there if names is None else names)}
        return tensors, there, (file.metadata() or {}).get(_CHECKSUMS)


def _read_parts(path: Path, names: Collection[str], device: str) -> tuple[Tensors, list[str], str | None]:
    """Do the same with a file in a bucket, of which only the parts are fetched that are wanted."""
    file = PartialFile(path)
    there = file.names()
    _check_names(path, names, there)
    tensors = {name: tensor.to(device) for name, tensor in file.tensors(names).items()}
    return tensors, there, file.metadata.get(_CHECKSUMS)


def _check_names(path: Path, names: Collection[str], there: Collection[str]) -> None:
    missing = sorted(set(names) - set(there))
    if missing:
        raise StoreError(f"{path} doesn't fit its model of today: it has no tensor {missing[0]!r}")


def kept_epochs(paths: TrialPaths) -> dict[int, Path]:
    """Return the kept checkpoints by epoch, in order."""
    try:
        found = [(checkpoint_epoch(path), path) for path in paths.checkpoints.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(sorted((epoch, path) for epoch, path in found if epoch is not None))


def _unshared(state: Tensors) -> Tensors:
    """Safetensors refuses tensors that share memory or are not contiguous."""
    seen: set[int] = set()
    result = {}
    for name, value in state.items():
        tensor = value.detach().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        result[name] = tensor if whole and pointer not in seen else tensor.clone()
        seen.add(pointer)
    return result


def _checksum(name: str, tensor: torch.Tensor) -> int:
    import torch

    content = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data
    return zlib.crc32(content, zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()))
