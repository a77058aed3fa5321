"""Checkpoints: weights and buffers alone as safetensors, which nobody has to unpickle, readable layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import StoreError
from nnray.store.files import replacing
from nnray.trial.paths import TrialPaths, checkpoint_epoch

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

TASK_PREFIX = "task:"
"""What the names of tensors begin with that belong to the task around the model, and not to the model."""


def save_weights(path: Path, state: Tensors) -> None:
    """Write a state dict in one step; tensors that share memory are written once each, under their own names."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        save_file(_unshared(state), beside)


def load_weights(path: Path, device: str = "cpu") -> Tensors:
    """Return the state dict at ``path``; raise StoreError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=device)
    except FileNotFoundError as error:
        raise StoreError(f"there is no checkpoint {path}") from error
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error


def kept_epochs(paths: TrialPaths) -> dict[int, Path]:
    """Return the kept checkpoints by epoch, in order."""
    if not paths.checkpoints.is_dir():
        return {}
    found = ((checkpoint_epoch(path), path) for path in paths.checkpoints.iterdir())
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
