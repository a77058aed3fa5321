"""Graphs without in-place operations."""

from __future__ import annotations

import functools
import inspect
import operator
from contextlib import suppress
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnray.graph.architecture import Operation
from nnray.graph.assembly import rebuild
from nnray.graph.operations import ByMode, Call, Method, Overload

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

_HOMES: tuple[Any, ...] = (torch, F, Tensor, torch._C._nn)


def to_inplace_free(model: GraphModule, *, copy: bool = False) -> GraphModule:
    """Let operations return new tensors instead of writing into their inputs.

    The values of a graph's names are right with in-place operations too. This is for those who run its operations
    themselves, and for transformations that don't allow writing.

    Modules with `inplace=True`, also inside of others, are replaced by copies without, which share parameters and
    buffers with them; PyTorch's functions (`torch.relu_`, `operator.iadd`, `Tensor.add_`, or `F.relu` with
    `inplace=True` in a `functools.partial`) by the ones that don't write. What a function or a module of the user's
    writes in its own code stays.

    Args:
        copy: Whether the new graph has parameters of its own.

    Returns:
        A graph with the same names and values.
    """
    state = chain(model.parameters(), model.buffers())
    memo = {id(tensor): tensor for tensor in state}  # copies of modules share these
    nodes = [node._replace(operation=_inplace_free(node.operation, memo)) for node in model._nodes]
    return rebuild(model, nodes, model._inputs, model._outputs, copy)


def _inplace_free(operation: Operation, memo: dict[int, Any]) -> Operation:
    if isinstance(operation, ByMode):
        calls = [_free_call(operation.calls[mode], memo) for mode in (True, False)]
        return ByMode(*calls).train(operation.training)
    if isinstance(operation, nn.Module):
        return _free_module(operation, memo)
    if isinstance(operation, Call):
        return _free_call(operation, memo)
    if isinstance(operation, functools.partial):
        keywords = {key: value for key, value in operation.keywords.items() if key != "inplace"}
        return functools.partial(_inplace_free(operation.func, memo), *operation.args, **keywords)
    return _free_function(operation)


def _free_module(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    if not any(getattr(child, "inplace", False) is True for child in module.modules()):
        return module
    twin = deepcopy(module, memo)
    for child in twin.modules():
        if getattr(child, "inplace", False) is True:
            child.inplace = False  # type: ignore[assignment]
    return twin


def _free_call(call: Call, memo: dict[int, Any]) -> Call:
    args, kwargs = call.args, {key: value for key, value in call.kwargs.items() if key != "inplace"}
    with suppress(TypeError, ValueError):  # functions written in C have no signature, and no such argument
        position = list(inspect.signature(call.function).parameters).index("inplace")
        args = (*args[:position], *(False for _ in args[position : position + 1]), *args[position + 1 :])
    return type(call)(_inplace_free(call.function, memo), *args, **kwargs)


def _free_function(function: Operation) -> Operation:
    name = getattr(function, "__name__", "")
    if name.startswith("i") and getattr(operator, name, None) is function:
        return getattr(operator, name[1:], None) or getattr(operator, f"{name[1:]}_", function)  # iadd: add; iand: and_
    if not name.endswith("_") or name.endswith("__"):
        return function
    if isinstance(function, Method):
        return Method(name[:-1]) if hasattr(Tensor, name[:-1]) else function
    if isinstance(function, Overload):
        with suppress(AttributeError):
            return Overload(function.name.replace(f".{name}.", f".{name[:-1]}."))
        return function
    for home in _HOMES:
        if getattr(home, name, None) is function:
            return getattr(home, name[:-1], function)
    return function
