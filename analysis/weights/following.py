"""A graph followed layer by layer, to learn which units of it move together: the rules for operations."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from analysis.weights.permutable_axes import FIXED, Axis, Groups, PermutableAxes, Segment
from nnray.graph import GraphModule
from nnray.graph.operations import Again, Call, Input, Method
from nnray.layers import Add, Concatenate, GridMaxPool, ImageToTokens, PaddedShortcut, Scale
from nnray.models.vit import ClassToken, PositionalEmbedding

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_UNIT_BY_UNIT = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout2d, Scale),
)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, GridMaxPool)
_UNIT_BY_UNIT_NAMES = frozenset(
    ["relu", "relu_", "relu6", "gelu", "silu", "tanh", "sigmoid", "hardswish", "leaky_relu", "elu", "dropout"]
)
_POOL_NAMES = frozenset(["max_pool2d", "boolean_dispatch", "avg_pool2d", "adaptive_avg_pool2d"])
_SUM_NAMES = frozenset(["add", "iadd", "add_"])


@torch.no_grad()
def permutable_axes(model: GraphModule, images: torch.Tensor) -> PermutableAxes:
    """Return which axes of a network's weights can be permuted together.

    Args:
        model: The network, in eval mode.
        images: One image or more, which it is shown to learn the shapes of its layers.
    """
    return _Walk(model, images).result()


class _Walk:
    def __init__(self, model: GraphModule, images: torch.Tensor) -> None:
        self._model = model
        self._groups = Groups()
        self._axes: dict[int, dict[int, Axis]] = {}  # by the tensor's identity
        self._made: dict[int, Axis] = {}  # what a module's outputs are: one that is used twice has one set of units
        self._values: dict[str, Axis] = {}
        shown: dict[str, Any] = {**model(images, outputs="*"), model.inputs[0]: images}
        self._shapes = {name: value.shape for name, value in shown.items() if isinstance(value, torch.Tensor)}
        self._values[model.inputs[0]] = Groups.fixed(self._width(model.inputs[0]) or 1)
        modules = {node.name: node.operation for node in model.nodes}
        for node in model.nodes:
            operation = node.operation
            if isinstance(operation, Again):
                operation = modules.get(operation.of, operation)
            made = self._follow(operation, node.inputs, node.name)
            if made is None:  # nothing is known of it: its inputs and outputs stay as they are
                for name in node.inputs:
                    if name in self._values:
                        self._groups.freeze(self._values[name])
                width = self._width(node.name)
                if width is not None:
                    self._values[node.name] = Groups.fixed(width)
            else:
                self._values[node.name] = made
        for name in model.outputs:
            if name in self._values:
                self._groups.freeze(self._values[name])

    def result(self) -> PermutableAxes:
        axes: dict[str, dict[int, Axis]] = {}
        sizes: dict[int, int] = {}
        for key, tensor in self._model.state_dict(keep_vars=True).items():
            known = {axis: self._groups.resolved(units) for axis, units in self._axes.get(id(tensor), {}).items()}
            moving = {axis: units for axis, units in known.items() if any(part.group != FIXED for part in units)}
            if moving:
                axes[key] = moving
            sizes |= {part.group: part.size for units in moving.values() for part in units if part.group != FIXED}
        return PermutableAxes(sizes, axes)

    def _width(self, name: str) -> int | None:
        """Return the number of units of a value: of channels of images, else of features."""
        shape = self._shapes.get(name)
        if shape is None or len(shape) not in (2, 3, 4):
            return None
        return shape[1] if len(shape) == 4 else shape[-1]

    def _use(self, tensor: Any, axis: int, units: Axis) -> None:
        """Note that an axis of a weight has these units."""
        if tensor is None:
            return
        known = self._axes.setdefault(id(tensor), {})
        if axis in known:
            self._groups.unify(known[axis], units)
        known.setdefault(axis, units)

    def _follow(self, operation: Any, inputs: Sequence[str], name: str) -> Axis | None:
        """Return the units of a layer's value; None if nothing is known of it."""
        if not inputs or any(source not in self._values for source in inputs) or self._width(name) is None:
            return None
        units = [self._values[source] for source in inputs]
        shapes = [self._shapes[source] for source in inputs]
        if isinstance(operation, nn.Module):
            if operation._forward_hooks or operation._forward_pre_hooks:
                return None
            return self._module(operation, units, shapes)
        return self._function(operation, units, shapes)

    def _module(self, module: nn.Module, units: list[Axis], shapes: list[torch.Size]) -> Axis | None:
        kind, first, ndim = type(module), units[0], len(shapes[0])
        if kind in _CONVOLUTIONS:
            return self._convolution(module, first) if ndim == 4 else None
        if kind is nn.Linear:
            return self._weights(module, first) if ndim in (2, 3) else None
        if kind in _BATCH_NORMS or kind is nn.LayerNorm or kind is nn.GroupNorm:
            return self._norm(module, first, ndim)
        if kind in _UNIT_BY_UNIT:
            return first
        if kind in _POOLS:
            return first if ndim == 4 else None
        if kind is nn.Flatten:
            return self._flattened(first, shapes[0]) if (module.start_dim, module.end_dim) == (1, -1) else None
        if kind is Add:
            return self._sum(units, shapes)
        if kind is Concatenate:
            return self._concatenated(units, ndim) if module.dim == 1 else None
        if kind is PaddedShortcut:
            # The channels that it appends are zero, in any order.
            return first + self._groups.new(module.extra_channels)  # type: ignore[arg-type]
        if kind is ImageToTokens:
            return first
        if kind in (ClassToken, PositionalEmbedding):
            self._use(next(module.parameters()), 2, first)
            return first
        return None

    def _convolution(self, module: Any, units: Axis) -> Axis | None:
        if module.groups == 1:
            return self._weights(module, units)
        if module.groups == module.in_channels == module.out_channels:
            self._use(module.weight, 0, units)
            self._use(module.bias, 0, units)
            return units
        return None

    def _weights(self, module: Any, units: Axis) -> Axis:
        """Follow a layer whose every output reads every input."""
        self._use(module.weight, 1, units)
        made = self._made.setdefault(id(module), self._groups.new(len(module.weight)))
        self._use(module.weight, 0, made)
        self._use(module.bias, 0, made)
        return made

    def _norm(self, module: Any, units: Axis, ndim: int) -> Axis | None:
        if isinstance(module, nn.LayerNorm):
            knows = len(module.normalized_shape) == 1 and ndim in (2, 3)
        elif isinstance(module, nn.GroupNorm):
            knows = module.num_groups in (1, module.num_channels) and ndim in (2, 4)
        else:
            knows = ndim in (2, 4)
        if not knows:
            return None
        for key in ("weight", "bias", "running_mean", "running_var"):
            self._use(getattr(module, key, None), 0, units)
        return units

    def _function(self, operation: Any, units: list[Axis], shapes: list[torch.Size]) -> Axis | None:
        function, constants, options = _parts(operation)
        name, ndim = getattr(function, "__name__", ""), len(shapes[0])
        if not _is_torchs(function):
            return None
        if name in _SUM_NAMES:
            return self._sum(units, shapes) if len(units) > 1 and not constants and not options else None
        if len(units) != 1:
            return None
        if name in _UNIT_BY_UNIT_NAMES:
            return units[0]
        if name in _POOL_NAMES:
            return units[0] if ndim == 4 else None
        if name == "flatten":
            return self._flattened(units[0], shapes[0]) if (*constants, *options.values()) == (1,) else None
        over_tokens = ndim == 3 and options.get("dim") == 1 and not constants
        if name in ("select", "mean") and over_tokens:
            return units[0]
        return None

    def _sum(self, units: list[Axis], shapes: list[torch.Size]) -> Axis | None:
        if any(shape != shapes[0] for shape in shapes):
            return None
        for other in units[1:]:
            self._groups.unify(units[0], other)
        return units[0]

    def _concatenated(self, units: list[Axis], ndim: int) -> Axis | None:
        return tuple(segment for axis in units for segment in axis) if ndim in (2, 4) else None

    def _flattened(self, units: Axis, shape: torch.Size) -> Axis | None:
        if len(shape) == 2:
            return units
        if len(shape) != 4:
            return None
        places = shape[2] * shape[3]
        return tuple(Segment(group, size, repeat * places) for group, size, repeat in units)


def _parts(operation: Any) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the function of an operation, with the constants and options that it is called with."""
    if isinstance(operation, functools.partial):
        return operation.func, operation.args, dict(operation.keywords)
    if isinstance(operation, Call):
        constants = tuple(value for value in operation.args if not isinstance(value, Input))
        return operation.function, constants, {k: v for k, v in operation.kwargs.items() if k != "inplace"}
    return operation, (), {}


def _is_torchs(function: Any) -> bool:
    if isinstance(function, Method):
        return True
    name = getattr(function, "__name__", "")
    return any(getattr(place, name, None) is function for place in (torch, F, operator, torch.Tensor))
