"""Convolutions that do the work of the batch normalisation behind them."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from nnray.errors import GraphError
from nnray.graph.architecture import Node
from nnray.graph.assembly import rebuild
from nnray.graph.operations import Call, Input, Value

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

_NORMALISATIONS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
_FUNCTIONS: dict[Any, Any] = {F.conv1d: nn.Conv1d, F.conv2d: nn.Conv2d, F.conv3d: nn.Conv3d}
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def fuse_conv_bn(model: GraphModule, *, copy: bool = False) -> GraphModule:
    """Let convolutions do the work of the batch normalisations behind them, which then cost nothing.

    The fused convolution takes the place and the name of the normalisation, and the name of the convolution is gone: so
    every name that remains stands for the same value as before, to the precision of the arithmetic. Convolutions may be
    modules or calls of `F.conv1d`, `F.conv2d` and `F.conv3d` with weights of the graph.

    Left alone are a convolution that something else reads, too, or that is an output; modules and weights that are used
    more than once; normalisations without running statistics; and modules with hooks or parametrizations.

    Args:
        copy: Whether also the layers that are not fused have parameters of their own; those of fused ones are new.

    Returns:
        A graph without the normalisations that could be fused.

    Raises:
        GraphError: A normalisation that could be fused is in training mode, where its value depends on the batch.
    """
    nodes = {node.name: node for node in model._nodes}
    reads = Counter(source for node in nodes.values() for source in node.inputs)
    reads.update(model._outputs)
    uses = Counter(id(tensor) for tensor in _tensors(model))
    for norm in list(nodes.values()):
        convolution = nodes.get(norm.inputs[0]) if len(norm.inputs) == 1 else None
        if convolution is None or reads[convolution.name] != 1 or not _is_plain(norm.operation):
            continue
        weights = [nodes[source] for source in convolution.inputs[1:] if source in nodes]
        module = _as_module(convolution, weights)
        if module is None or type(norm.operation) is not _NORMALISATIONS[type(module)]:
            continue
        if any(uses[id(tensor)] > 1 for tensor in (*_tensors(module), *_tensors(norm.operation))):
            continue
        if any(reads[weight.name] != 1 for weight in weights) or norm.operation.running_mean is None:
            continue
        if norm.operation.training:
            raise GraphError(
                f"the batch normalisation {norm.name!r} cannot be fused in training mode, where its value depends on "
                "the batch: call eval() first"
            )
        nodes[norm.name] = Node(norm.name, _fused(module, norm.operation), convolution.inputs[:1])
        for gone in (convolution, *weights):
            del nodes[gone.name]
    return rebuild(model, list(nodes.values()), model._inputs, model._outputs, copy)


def _tensors(module: nn.Module) -> list[Tensor]:
    """Return parameters and buffers, those that have several names several times."""
    return [
        *(parameter for _, parameter in module.named_parameters(remove_duplicate=False)),
        *(buffer for _, buffer in module.named_buffers(remove_duplicate=False)),
    ]


def _is_plain(operation: Any) -> bool:
    return isinstance(operation, nn.Module) and not (
        operation._forward_hooks or operation._forward_pre_hooks or operation._backward_hooks
    )


def _as_module(node: Node, weights: list[Node]) -> Any:
    """Return a convolution as a module, with the very tensors that it uses; None if it is none that can be fused."""
    operation = node.operation
    if type(operation) in _NORMALISATIONS:
        return operation if _is_plain(operation) and len(node.inputs) == 1 else None
    call = operation if isinstance(operation, Call) else Call(operation, *map(Input, range(len(node.inputs))))
    kind = _FUNCTIONS.get(call.function) if type(call) is Call else None
    arguments = dict(zip(_ARGUMENTS, call.args, strict=False)) | call.kwargs
    if kind is None or arguments.get("input") != Input(0) or len(weights) != len(node.inputs) - 1:
        return None
    tensors = {}
    for name in ("weight", "bias"):
        value = arguments.pop(name, None)
        if isinstance(value, Input):
            owner = weights[value.position - 1].operation
            if not isinstance(owner, Value):
                return None
            tensors[name] = owner()
        elif value is not None:
            return None
    del arguments["input"]
    if "weight" not in tensors or not all(isinstance(tensor, nn.Parameter) for tensor in tensors.values()):
        return None
    weight = tensors["weight"]
    groups = arguments.get("groups", 1)
    module = kind(
        weight.shape[1] * groups, weight.shape[0], weight.shape[2:], bias="bias" in tensors, device="meta", **arguments
    )
    for name, tensor in tensors.items():
        module.register_parameter(name, tensor)
    return module.train(False)


def _fused(convolution: Any, norm: Any) -> nn.Module:
    result = deepcopy(convolution)
    result.weight, result.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return result
