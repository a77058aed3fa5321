"""What distinguishes a model's parameters and buffers from those of others: many related models in little space.

A stitched network shares all but its stitching layer with two others that are stored already.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnray.errors import GraphError, did_you_mean

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

Base = nn.Module | Mapping[str, nn.Module] | Mapping[str, Tensor]
"""A model, models under their prefixes (as `merge` and `stitch` put them together), or a state dict."""


def delta_state_dict(model: GraphModule, base: Base) -> dict[str, Tensor]:
    """Return the entries of the model's state dict that `base` lacks or has with other bits, another shape or dtype.

    Example:
        >>> delta = stitched.delta_state_dict({"a": a, "b": b})  # the stitching layer's parameters
        >>> safetensors.torch.save_file(delta, "stitched.safetensors")

    Args:
        base: Another model with the same names; a dict from prefixes to models, whose names are then `prefix.name`, as
            in graphs that `merge` and `stitch` make; or a state dict.

    Returns:
        Copies of the entries, contiguous and sharing no memory, so that safetensors can write them. What only `base`
        has is not mentioned.

    Raises:
        GraphError: The base is none of these.
    """
    old = _state_dict(base)
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if name not in old or not _same_bits(tensor, old[name])
    }


def load_delta_state_dict(model: GraphModule, delta: Mapping[str, Tensor], base: Base) -> GraphModule:
    """Return a copy of the model with the values of `delta` and, for all that is not in it, of `base`.

    Args:
        delta: What `delta_state_dict` returned.
        base: As it was given to `delta_state_dict`.

    Returns:
        A graph with parameters and buffers of its own: models that `model` shares parameters with, such as `base`, stay
        as they are.

    Raises:
        GraphError: An entry of the model is in neither, one of `delta` is not in the model, or shapes differ.
    """
    own = model.state_dict()
    old = _state_dict(base)
    _check_state_dict(delta, "the delta")
    for name in delta:
        if name not in own:
            raise GraphError(f"the delta has {name!r}, which the model has not{did_you_mean(name, own)}")
    values = {}
    for name, tensor in own.items():
        if name not in delta and name not in old:
            raise GraphError(f"{name!r} is neither in the delta nor in its base{did_you_mean(name, [*delta, *old])}")
        values[name] = delta[name] if name in delta else old[name]
        if values[name].shape != tensor.shape:
            raise GraphError(
                f"{name!r} has the shape {tuple(tensor.shape)} in the model, "
                f"but {tuple(values[name].shape)} in the {'delta' if name in delta else 'base'}"
            )
    result = deepcopy(model)
    result.load_state_dict(values)
    return result


def _state_dict(base: Base) -> dict[str, Tensor]:
    if isinstance(base, nn.Module):
        return base.state_dict()
    result: dict[str, Any] = {}
    for name, item in base.items() if isinstance(base, Mapping) else ():
        if isinstance(item, nn.Module):
            result |= {f"{name}.{key}": tensor for key, tensor in item.state_dict().items()}
        else:
            result[name] = item
    _check_state_dict(result if isinstance(base, Mapping) else base, "the base")
    return result


def _check_state_dict(state: Any, what: str) -> None:
    kinds = "a model, a dict of models or a state dict" if what == "the base" else "a state dict"
    if not isinstance(state, Mapping):
        raise GraphError(f"{what} must be {kinds}, not a {type(state).__name__}")
    for name, item in state.items():
        if not isinstance(item, Tensor):
            raise GraphError(f"{what} must be {kinds}: {name!r} is a {type(item).__name__}")


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are equal to the sign of zero and the bits of NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.data_ptr() == second.data_ptr() and first.stride() == second.stride() and first.device == second.device:
        return True
    return torch.equal(_bits(first), _bits(second.to(first.device)))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
