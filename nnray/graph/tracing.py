"""From any module to the layers of a graph, named as a person knows them from `named_modules()`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from nnray.errors import GraphError, did_you_mean
from nnray.graph.architecture import Node
from nnray.graph.export_tracing import export_graph
from nnray.graph.fx_tracing import fx_graph
from nnray.graph.leaves import Leaves, Opaque, check_not_compiled
from nnray.graph.lowering import lowered
from nnray.graph.operations import Again, ByMode, Call, Input, Method, Operation, Overload, Part, Value

Example = Tensor | tuple[Any, ...] | dict[str, Any] | None


class Traced(NamedTuple):
    """What a module computes.

    Args:
        module: The module.
        nodes: Its layers, in the order of the calls; the last one is the output.
        inputs: Names of its inputs.
        scopes: Paths of the submodules that are looked into.
        only_mode: Whether it was in training mode, if it does something else in the other; else None.
    """

    module: nn.Module
    nodes: list[Node]
    inputs: tuple[str, ...]
    scopes: set[str]
    only_mode: bool | None


def trace(module: nn.Module, example: Example, opaque: str | Iterable[Opaque], reserved: Collection[str]) -> Traced:
    """Trace a module; `GraphModule.trace` says how.

    Args:
        module: The module, which is left unchanged.
        example: Its inputs for one call.
        opaque: What to take as one layer.
        reserved: Names that the outermost layers cannot have.

    Raises:
        GraphError: It cannot be traced.
    """
    if not isinstance(module, nn.Module):
        raise GraphError(f"only a module can be traced, not {module!r}")
    check_not_compiled(module)
    if getattr(type(module), "forward", None) is nn.Module.forward:  # a list of modules
        raise GraphError(f"cannot trace {type(module).__name__}, which has no forward of its own")
    leaves = Leaves(module, opaque)
    args, kwargs = _arguments(example)
    inputs = _inputs(module, args, kwargs)
    owned = {name for name, _ in module.named_modules(remove_duplicate=False)}
    owned |= {name for name, _ in module.named_parameters(remove_duplicate=False)}
    owned |= {name for name, _ in module.named_buffers(remove_duplicate=False)}

    def is_taken(scope: str, key: str) -> bool:
        name = f"{scope}.{key}" if scope else key
        return (
            name in owned
            or name in inputs
            or name == "input"
            or key in _OF_EVERY_MODULE
            or (not scope and key in reserved)
        )

    def layers() -> tuple[list[Node], list[str]]:
        with _attributes_kept(module):
            return lowered(_graph(module, leaves, inputs, args, kwargs), module, is_taken)

    nodes, names = layers()
    only_mode: bool | None = None
    with _other_mode(module):
        try:
            other, _ = layers()
        except GraphError:
            other = []
    merged = _merged(nodes, other, module.training)
    if merged is None:
        only_mode = module.training
    return Traced(module, merged or nodes, tuple(names), _scopes(nodes), only_mode)


_OF_EVERY_MODULE = {*dir(nn.Module), *nn.Module().__dict__}


def _graph(
    module: nn.Module, leaves: Leaves, inputs: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> fx.Graph:
    try:
        return fx_graph(module, leaves, inputs)
    except GraphError as error:
        if args or kwargs:
            return export_graph(module, leaves, inputs, args, kwargs)
        raise GraphError(
            f"{error}. Give example=... to trace the module through torch.export, or opaque=[...] with the name or "
            "class of the submodule, or the function, that is to be one layer"
        ) from error


def _arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if example is None:
        return (), {}
    if isinstance(example, dict):
        return (), example
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def _inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Return which arguments of `forward` are inputs: those of the example, else those without a default."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if args or kwargs:
        if len(args) > len(positional):
            raise GraphError(f"the example has {len(args)} arguments, but forward takes {len(positional)}")
        named = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        for name in kwargs:
            if name not in named and all(each.kind is not each.VAR_KEYWORD for each in parameters):
                raise GraphError(f"the example has {name!r}, which forward does not take{did_you_mean(name, named)}")
        return (*positional[: len(args)], *kwargs)
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [each.name for each in parameters if each.default is each.empty and each.kind not in variable]
    return tuple(required or positional[:1] or ["input"])


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Put back what the code assigns to attributes while it is traced: stand-ins, which would break the module.

    Raises:
        GraphError: The code gives a buffer or parameter another value.
    """
    before = [(path, child, dict(child.__dict__)) for path, child in module.named_modules()]
    tensors = [(dict(child._parameters), dict(child._buffers)) for _, child, _ in before]
    assigned = []
    try:
        yield
    finally:
        for (path, child, attributes), (parameters, buffers) in zip(before, tensors, strict=True):
            if not _same_items(child.__dict__, attributes):
                child.__dict__.clear()
                child.__dict__.update(attributes)
            for present, past in ((child._parameters, parameters), (child._buffers, buffers)):
                if not _same_items(present, past):
                    changed = [name for name in past if present.get(name) is not past[name]]
                    assigned += [f"{path}.{name}" if path else name for name in changed]
                    present.clear()
                    present.update(past)
    if assigned:
        raise GraphError(
            f"the code assigns to {assigned[0]!r}, which a graph cannot follow: make the submodule that does so opaque"
        )


def _same_items(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one.keys() == two.keys() and all(value is two[name] for name, value in one.items())


@contextmanager
def _other_mode(module: nn.Module) -> Iterator[None]:
    modes = [(child, child.training) for child in module.modules()]
    other = not module.training
    try:
        for child, _ in modes:
            child.training = other
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def _merged(nodes: list[Node], other: list[Node], training: bool) -> list[Node] | None:
    """Return layers that are right in both modes, or None if more than constants differ."""
    if len(nodes) != len(other):
        return None
    merged = []
    for mine, theirs in zip(nodes, other, strict=True):
        if mine.name != theirs.name or mine.inputs != theirs.inputs:
            return None
        one, two = mine.operation, theirs.operation
        if isinstance(one, Call) or isinstance(two, Call):
            one, two = _as_call(one, len(mine.inputs)), _as_call(two, len(mine.inputs))
            if not _same_function(one.function, two.function):
                return None
            if not _same(one.args, two.args) or not _same(one.kwargs, two.kwargs):
                if isinstance(one.function, nn.Module | Again):
                    return None
                one = ByMode(one, two) if training else ByMode(two, one)
                one.training = training
                merged.append(mine._replace(operation=one))
                continue
        elif not _same_function(one, two):
            return None
        merged.append(mine)
    return merged


def _as_call(operation: Operation, inputs: int) -> Call:
    return operation if isinstance(operation, Call) else Call(operation, *map(Input, range(inputs)))


def _same_function(one: Callable[..., Any], two: Callable[..., Any]) -> bool:
    if isinstance(one, Value | Part | Again):
        return type(one) is type(two)
    if isinstance(one, Method | Overload):
        return type(one) is type(two) and one.__name__ == two.__name__
    return one is two


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, tuple | list) and type(one) is type(two) and len(one) == len(two):
        return all(map(_same, one, two))
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return all(_same(one[key], two[key]) for key in one)
    return one is two or (type(one) is type(two) and not isinstance(one, Tensor) and bool(one == two))


def _scopes(nodes: list[Node]) -> set[str]:
    scopes = set()
    for node in nodes:
        if isinstance(node.operation, Value | Part):
            continue
        scope = node.name.rpartition(".")[0]
        while scope:
            scopes.add(scope)
            scope = scope.rpartition(".")[0]
    return scopes
