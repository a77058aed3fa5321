"""What an operation may do to the values it is called with.

A graph promises that a name stands for one value, so an operation that writes into its input must not do so where
anybody else can still see that value. Whether an operation writes cannot be known in general, hence three answers: the
operations of `torch` are known by their names, types and `inplace` flags; an operation may be declared `pure`; and
everything else (a lambda, a module of the user's) is taken to write into all its inputs and to return one of them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import nn

from nnray.errors import GraphError
from nnray.graph.operations import ByMode, Call, Method, Overload, Part, Value, structure

Fact = tuple[dict[str, Any], str, Any]
"""`(mapping, key, value)`: an assumption that holds as long as `mapping.get(key) is value`."""

AnyOperation = TypeVar("AnyOperation", bound=Callable[..., Any])


class Effect(NamedTuple):
    """What calling an operation may do.

    Args:
        writes: How many of its arguments, counted from the first, it may write into.
        aliases: How many of its arguments, counted from the first, its output may share memory with.
        kept: Autograd may keep its output for the backward pass, so that overwriting it makes the backward pass fail.
    """

    writes: int
    aliases: int
    kept: bool


_ALL = sys.maxsize
FRESH = Effect(writes=0, aliases=0, kept=False)
PURE = Effect(writes=0, aliases=_ALL, kept=True)
IN_PLACE = Effect(writes=1, aliases=1, kept=True)
IN_PLACE_SUM = Effect(writes=1, aliases=1, kept=False)
# `kept` is False for want of knowledge: copying after every unknown operation would double the memory of training.
# Where it is wrong, autograd itself raises in the backward pass, as it does for a network written by hand.
UNKNOWN = Effect(writes=_ALL, aliases=_ALL, kept=False)

_TORCH_FUNCTIONS = frozenset(
    [
        "_operator",
        "builtins",
        "math",
        "torch",
        "torch._C._fft",
        "torch._C._linalg",
        "torch._C._nn",
        "torch._C._special",
        "torch._tensor",
        "torch.functional",
        "torch.nn.functional",
    ]
)
_OPERATORS = (
    *("add", "and", "floordiv", "lshift", "matmul", "mod", "mul"),
    *("or", "pow", "rshift", "sub", "truediv", "xor"),
)
_WRITING_NAMES = frozenset(
    [
        *(f"i{name}" for name in (*_OPERATORS, "concat")),
        *(f"__i{name}__" for name in _OPERATORS),
        *("setitem", "delitem", "__setitem__"),
        *("batch_norm", "instance_norm"),  # they write into the running statistics that they are given
    ]
)
_FRESH_NAMES = frozenset(
    [
        *("add", "sub", "mul", "truediv", "div", "matmul", "cat", "stack"),
        *("linear", "conv1d", "conv2d", "conv3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "layer_norm", "group_norm"),
    ]
)
# Their functions and simple modules are read: they write into no argument, but for modules with a flag `inplace`.
_LIBRARIES = ("torchvision.models.", "torchvision.ops.")
_SUM_NAMES = frozenset(["iadd", "isub", "__iadd__", "__isub__", "add_", "sub_"])
_FRESH_MODULES = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)


def pure(operation: AnyOperation) -> AnyOperation:
    """Declare that an operation never writes into its inputs, so that a graph need not protect them. A decorator.

    Args:
        operation: A function, a module, or the class of a module or of another callable. A subclass with a `forward`
            (`__call__`) of its own is not covered by the declaration of its parent.

    Returns:
        The same object, marked.

    Raises:
        GraphError: It cannot be called.
    """
    if not callable(operation):
        raise GraphError(f"only a function, a module or a class can be declared pure, not {operation!r}")
    if isinstance(operation, type):
        operation._nnray_pure = _body(operation)  # type: ignore[attr-defined]
    else:
        operation._nnray_pure = True  # type: ignore[attr-defined]
    return operation


def effect_of(operation: Callable[..., Any], facts: list[Fact]) -> Effect:
    """Return what an operation may do, and append to `facts` what this answer rests on and could change later."""
    kind = type(operation)
    if isinstance(operation, Call):
        return _effect_of_call(operation, facts)
    if isinstance(operation, Overload):
        return _effect_of_overload(operation)
    if isinstance(operation, Part) or operation in (getattr, structure):
        return PURE
    if isinstance(operation, type) and issubclass(operation, tuple):
        return PURE
    if isinstance(operation, Value):
        return FRESH
    if isinstance(operation, nn.Module):
        return _effect_of_module(operation, facts)
    if isinstance(operation, functools.partial):
        if operation.args or operation.keywords.get("out") is not None:
            return UNKNOWN
        effect = effect_of(operation.func, facts)
        return IN_PLACE if effect.writes == 0 and operation.keywords.get("inplace") else effect
    if getattr(operation, "_nnray_pure", None) is True or getattr(kind, "_nnray_pure", None) is _body(kind):
        return PURE
    name = getattr(operation, "__name__", "")
    origin = getattr(operation, "__module__", None) or ""
    if origin not in _TORCH_FUNCTIONS and not _is_tensor_method(operation) and not isinstance(operation, Method):
        return PURE if origin.startswith(_LIBRARIES) else UNKNOWN
    if name in _WRITING_NAMES or (name.endswith("_") and not name.endswith("__")):
        return IN_PLACE_SUM if name in _SUM_NAMES else IN_PLACE
    return FRESH if name in _FRESH_NAMES else PURE


def _effect_of_module(module: nn.Module, facts: list[Fact]) -> Effect:
    kind = type(module)
    if getattr(module, "_nnray_pure", None) is True or getattr(kind, "_nnray_pure", None) is kind.forward:
        return PURE
    if isinstance(module, ByMode):
        return _either([effect_of(call, facts) for call in module.calls.values()])
    if not kind.__module__.startswith(("torch.nn.modules.", *_LIBRARIES)):
        return UNKNOWN
    if kind is nn.Sequential:
        facts.extend((module._modules, key, child) for key, child in module._modules.items())
        whole = PURE
        for effect in [effect_of(child, facts) for child in module.children()]:
            whole = Effect(
                # A child writes into the input of the whole only if all before it have passed that on.
                writes=max(whole.writes, effect.writes) if whole.aliases else whole.writes,
                aliases=min(whole.aliases, effect.aliases),
                kept=effect.kept or (whole.kept and effect.aliases > 0),
            )
        return whole
    if module._modules:
        return UNKNOWN
    if "inplace" in module.__dict__:
        facts.append((module.__dict__, "inplace", module.__dict__["inplace"]))
        if module.__dict__["inplace"]:
            return IN_PLACE
    return FRESH if isinstance(module, _FRESH_MODULES) else PURE


def _effect_of_call(call: Call, facts: list[Fact]) -> Effect:
    """Translate what a function does to its arguments into what the call does to its inputs."""
    effect = effect_of(call.function, facts)
    if call.kwargs.get("out") is not None:
        return UNKNOWN
    if effect.writes == 0 and _argument(call, "inplace"):
        effect = IN_PLACE
    return Effect(
        writes=call.inputs_within(effect.writes) if 0 < effect.writes < _ALL else effect.writes,
        aliases=call.inputs_within(effect.aliases) if 0 < effect.aliases < _ALL else effect.aliases,
        kept=effect.kept,
    )


def _effect_of_overload(overload: Overload) -> Effect:
    """Read what an operator does off its schema, where `Tensor(a!)` is an argument that it writes into."""
    arguments = overload.operator._schema.arguments
    written = [
        index for index, argument in enumerate(arguments) if argument.alias_info and argument.alias_info.is_write
    ]
    if overload.name.startswith("aten.") and "norm" in overload.__name__:
        written = []  # the running statistics, which are meant to be written into
    if written:
        return Effect(writes=max(written) + 1, aliases=max(written) + 1, kept=True)
    return PURE


def _either(effects: list[Effect]) -> Effect:
    return Effect(
        writes=max(effect.writes for effect in effects),
        aliases=max(effect.aliases for effect in effects),
        kept=any(effect.kept for effect in effects),
    )


def _argument(call: Call, name: str) -> Any:
    """Return an argument by its name, however it is passed, or None."""
    if name in call.kwargs:
        return call.kwargs[name]
    code = getattr(call.function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    position = names.index(name) if name in names else len(call.args)
    return call.args[position] if position < len(call.args) else None


def _is_tensor_method(operation: Callable[..., Any]) -> bool:
    return getattr(getattr(operation, "__objclass__", None), "__name__", None) == "TensorBase"


def _body(kind: type) -> Any:
    return getattr(kind, "forward" if issubclass(kind, nn.Module) else "__call__", None)
