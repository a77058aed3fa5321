"""From a nested dict to a flat table of layers: what an architecture may say, and every way in which it can be wrong.

The notation is that of cifar10-fast (https://github.com/davidcpage/cifar10-fast, `build_graph`): a key is a layer's
name, a value is an operation, `(operation, inputs)` or a nested dict. Here it is only read; `nnray.graph.module` runs
it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from nnray.errors import GraphError, did_you_mean
from nnray.graph.operations import Operation, Part, Value

GLOB_CHARACTERS = frozenset("*?[]")


class Node(NamedTuple):
    """A layer of a graph.

    Args:
        name: Dotted path, the same as the prefix of its parameters in `state_dict()`.
        operation: What computes it, called with the values of its inputs: an `nn.Module`, a function, or one of
            `nnray.graph.operations`.
        inputs: Full names of the values that the operation is called with, in the order of its arguments.
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...]


def parse(architecture: Mapping[str, Any], inputs: Sequence[str]) -> list[Node]:
    """Flatten a nested dict into its layers, in the order in which they are written, with all inputs as full names.

    Args:
        architecture: The nested dict, as `GraphModule` documents it.
        inputs: Names of the inputs of the whole model.

    Returns:
        One node per layer; the inputs of each are inputs of the model or layers before it.

    Raises:
        GraphError: The architecture is empty, a name is not allowed, a value is not an operation, or an input is
            unknown or comes later than the layer that asks for it.
    """
    _check_inputs(inputs)
    declared = list(_flatten(architecture, (), inputs))
    if not declared:
        raise GraphError("the architecture has no layers")
    every_name = [".".join(path) for path, _, _ in declared]
    nodes: list[Node] = []
    sequence = [inputs[0]]  # what positions count back through: the model's input, then the layers
    known = set(inputs)
    for (path, operation, sources), name in zip(declared, every_name, strict=True):
        resolved = tuple(
            _at_position(source, name, sequence)
            if isinstance(source, int)
            else _in_scope(source, path, known, every_name, inputs)
            for source in sources
        )
        for source in resolved:
            parts = parts_on_the_way(source, known)
            nodes.extend(parts)
            known.update(part.name for part in parts)
        nodes.append(Node(name, operation, resolved))
        if not isinstance(operation, Value):
            sequence.append(name)
        known.add(name)
    return nodes


def parts_on_the_way(name: str, known: Container[str]) -> list[Node]:
    """Return the parts of a known value that lead to `name`: for `lstm.1.0`, the nodes `lstm.1` and `lstm.1.0`.

    Args:
        name: A full name.
        known: Names of the layers and inputs that there are.

    Returns:
        The nodes to add, outermost first; none if the name is known or does not begin with a known one.
    """
    keys = name.split(".")
    depth = next((depth for depth in range(len(keys), 0, -1) if ".".join(keys[:depth]) in known), len(keys))
    whole = [".".join(keys[:end]) for end in range(depth, len(keys))]
    return [Node(f"{of}.{key}", Part(key, of), (of,)) for of, key in zip(whole, keys[depth:], strict=True)]


def _check_inputs(inputs: Sequence[str]) -> None:
    if isinstance(inputs, str) or not inputs:
        raise GraphError(f"inputs must be a tuple of at least one name, such as ('input',), not {inputs!r}")
    for position, name in enumerate(inputs):
        check_key(name, "the input")
        if name in inputs[:position]:
            raise GraphError(f"the input {name!r} is declared twice")


def check_key(key: Any, what: str) -> None:
    """Raise a GraphError unless `key` can be one part of a dotted name; `what` says of what, such as "the layer"."""
    if not isinstance(key, str) or not key:
        raise GraphError(f"{what} {key!r} must have a name that is a string with at least one character")
    if "." in key:
        raise GraphError(f"{what} {key!r} must not have a dot in its name: dots separate the levels of nested dicts")
    if not GLOB_CHARACTERS.isdisjoint(key):
        raise GraphError(f"{what} {key!r} must not have any of * ? [ ] in its name: they are for globs")


def _flatten(
    architecture: Mapping[str, Any], scope: tuple[str, ...], inputs: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], Operation, tuple[str | int, ...]]]:
    where = f" of {'.'.join(scope)!r}" if scope else ""
    if not isinstance(architecture, Mapping):
        raise GraphError(f"an architecture is a dict of layers, not a {type(architecture).__name__}")
    for key, value in architecture.items():
        check_key(key, f"the layer{where}" if where else "the layer")
        path = (*scope, key)
        name = ".".join(path)
        if key in inputs:
            raise GraphError(f"the layer {name!r} must have another name: {key!r} is an input of the model")
        if isinstance(value, Mapping):
            if not value:
                raise GraphError(f"the nested dict {name!r} has no layers")
            yield from _flatten(value, path, inputs)
        elif isinstance(value, tuple):
            if len(value) != 2:
                raise GraphError(f"the layer {name!r} must be (operation, inputs), not a tuple of {len(value)}")
            operation, sources = value
            yield path, check_operation(operation, name), _sources(sources, name)
        elif isinstance(value, Tensor | Value):
            yield path, check_operation(value, name), ()
        else:
            yield path, check_operation(value, name), (-1,)


def check_operation(operation: Any, name: str) -> Operation:
    """Return the operation of the layer `name`, or raise a GraphError that says why it cannot be one."""
    if isinstance(operation, type) and issubclass(operation, nn.Module):
        raise GraphError(
            f"the layer {name!r} is the class {operation.__name__}, not a module: write {operation.__name__}(...)"
        )
    if isinstance(operation, nn.Module):
        if type(operation).forward is nn.Module.forward:
            raise GraphError(f"the layer {name!r} is a {type(operation).__name__}, which has no forward")
    elif isinstance(operation, Tensor):
        return Value.of(operation)
    elif not callable(operation):
        raise GraphError(f"the layer {name!r} must be a module, a function or a dict, not {operation!r}")
    return operation


def _sources(sources: Any, name: str) -> tuple[str | int, ...]:
    listed = tuple(sources) if isinstance(sources, list | tuple) else (sources,)
    for source in listed:
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise GraphError(f"the layer {name!r} has the input {source!r}, which is neither a name nor a position")
        if isinstance(source, int) and source >= 0:
            raise GraphError(
                f"the layer {name!r} has the input {source}: positions count backwards, -1 is the layer before"
            )
    return listed


def _at_position(position: int, name: str, sequence: Sequence[str]) -> str:
    if -position > len(sequence):
        raise GraphError(f"the layer {name!r} has the input {position}, but only {len(sequence) - 1} layers before it")
    return sequence[position]


def _in_scope(
    source: str, path: tuple[str, ...], known: set[str], every_name: Sequence[str], inputs: Sequence[str]
) -> str:
    """Return the full name that `source` means where `path` is declared: the innermost one that is already there."""
    candidates = [".".join((*path[:depth], source)) for depth in reversed(range(len(path)))]
    for candidate in candidates:
        if candidate in known:
            return candidate
    for candidate in candidates:
        if parts_on_the_way(candidate, known):
            return candidate
    name = ".".join(path)
    for candidate in candidates:
        if candidate == name:
            raise GraphError(f"the layer {name!r} has itself as an input")
        if candidate in every_name:
            raise GraphError(f"the layer {name!r} has the input {candidate!r}, which must come before it")
        inside = [other for other in every_name if other.startswith(candidate + ".")]
        if inside:
            raise GraphError(
                f"the layer {name!r} has the input {candidate!r}, which is a nested dict: name a layer in it, "
                f"such as {inside[-1]!r}"
            )
    raise GraphError(
        f"the layer {name!r} has an unknown input {source!r}{did_you_mean(source, [*inputs, *every_name])}"
    )
