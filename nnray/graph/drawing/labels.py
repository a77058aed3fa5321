"""What a picture says of a layer: its operation in a few characters, its shape, and a colour for its kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from nnray.graph.layer_table import operation_name

COLOURS = {
    "convolution": "#a6cee3",
    "linear": "#cab2d6",
    "attention": "#f4b6d2",
    "normalisation": "#fff2ae",
    "activation": "#fdbf8f",
    "pooling": "#b2df8a",
    "combination": "#d9d9d9",
    "dropout": "#f1e2cc",
    "other": "#f5f5f5",
}
"""A colour per kind of operation, light enough for black letters."""

_KINDS = {  # parts of an operation's name in small letters; the first that fits decides
    "attention": ("attention",),
    "normalisation": ("norm",),
    "convolution": ("conv",),
    "dropout": ("dropout", "droppath", "stochastic"),
    "pooling": ("pool", "mean"),
    "activation": ("relu", "elu", "gelu", "silu", "swish", "sigmoid", "tanh", "softmax", "softplus", "mish"),
    "combination": ("add", "mul", "cat", "sum", "sub", "stack", "shortcut", "scale", "position", "token"),
    "linear": ("linear", "matmul", "bmm", "einsum", "embedding"),
}


def kind(operation: Any) -> str:
    """Return the kind of an operation, a key of `COLOURS`."""
    name = operation_name(operation).lower()
    return next((kind for kind, parts in _KINDS.items() if any(part in name for part in parts)), "other")


def operation_label(operation: Any) -> str:
    """Return the operation's name, for convolutions and pooling with kernel and stride: `Conv2d 3×3 /2`."""
    name = operation_name(operation)
    words = [name]
    if isinstance(operation, nn.Module):
        kernel, stride = getattr(operation, "kernel_size", None), getattr(operation, "stride", None)
        if kernel is not None:
            axes = int(name[-2]) if re.search(r"\dd$", name) else 1
            words.append("×".join(map(str, kernel if isinstance(kernel, tuple) else (kernel,) * axes)))
        strides = stride if isinstance(stride, tuple) else (stride,)
        if not set(strides) <= {None, 1}:
            words.append("/" + "×".join(map(str, strides if len(set(strides)) > 1 else strides[:1])))
    return " ".join(words)


def shape_label(shape: Any) -> str:
    """Return a shape as `16×32×32`, several as `16×32×32, 10`; nothing where it is not known."""
    if shape is None:
        return ""
    if isinstance(shape, Mapping):
        shape = tuple(shape.values())
    if all(isinstance(size, int) for size in shape):
        return "×".join(map(str, shape)) or "scalar"
    return ", ".join(filter(None, map(shape_label, shape)))
