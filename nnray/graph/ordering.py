"""From a flat list of layers to one that can be computed from first to last: what surgery must not get wrong."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence

from nnray.errors import GraphError, did_you_mean
from nnray.graph.architecture import Node, check_key, check_operation
from nnray.graph.operations import Part, Value

_MOST_OF_A_CYCLE = 8  # layers that an error names


def ordered(nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]) -> list[Node]:
    """Check a flat list of layers, and sort it so that each comes after its inputs.

    Args:
        nodes: The layers, in any order. Those that need no other are kept in the order in which they are given.
        inputs: Names of the inputs of the whole model; unlike those of an architecture, they may have dots.
        outputs: Names of the layers that are the model's outputs.

    Returns:
        The layers, sorted. A list that is sorted already is returned in its own order.

    Raises:
        GraphError: There are no layers, a name is not allowed or means two things, an operation cannot be called, an
            input or output is unknown, or the layers form a cycle.
    """
    if not nodes:
        raise GraphError("the graph has no layers")
    _check_names(nodes, inputs)
    position = {node.name: index for index, node in enumerate(nodes)}
    readers: dict[str, list[int]] = {}
    missing = []
    nodes = [node._replace(operation=check_operation(node.operation, node.name)) for node in nodes]
    for index, node in enumerate(nodes):
        sources = {source for source in node.inputs if source not in inputs}
        missing.append(len(sources))
        for source in sources:
            if source not in position:
                raise GraphError(
                    f"the layer {node.name!r} has an unknown input {source!r}"
                    f"{did_you_mean(source, [*inputs, *position])}"
                )
            readers.setdefault(source, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    result = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        result.append(node)
        for index in readers.get(node.name, ()):
            missing[index] -= 1
            if not missing[index]:
                heapq.heappush(ready, index)
    if len(result) < len(nodes):
        cycle = [repr(name) for name in _cycle([node for node, count in zip(nodes, missing, strict=True) if count])]
        if len(cycle) > _MOST_OF_A_CYCLE:
            cycle[_MOST_OF_A_CYCLE // 2 : -_MOST_OF_A_CYCLE // 2] = ["..."]
        raise GraphError(f"the layers form a cycle: {' -> '.join(cycle)}")
    _check_ends(position, inputs, outputs)
    return result


def _check_names(nodes: Sequence[Node], inputs: Sequence[str]) -> None:
    names = [node.name for node in nodes]
    for what, listed in (("input", inputs), ("layer", names)):
        seen: set[str] = set()
        for name in listed:
            for key in name.split(".") if isinstance(name, str) else [name]:
                check_key(key, f"the {what} {name!r}:" if key != name else f"the {what}")
            if name in seen:
                raise GraphError(f"the {what} {name!r} is there twice")
            seen.add(name)
    layers = set(names)
    for node in nodes:
        name = node.name
        if name in inputs:
            raise GraphError(f"the layer {name!r} must have another name: {name!r} is an input of the model")
        if is_part(node) or isinstance(node.operation, Value):
            continue  # `lstm.0` and `embedding.weight` go with the layers `lstm` and `embedding`
        for block in _blocks(name):
            if block in layers:
                raise GraphError(f"{block!r} cannot be both a layer and the nested dict that {name!r} is in")
            if block in inputs:
                raise GraphError(
                    f"{block!r} cannot be both an input of the model and the nested dict that {name!r} is in"
                )


def _check_ends(names: Collection[str], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    if not inputs:
        raise GraphError("a model has at least one input")
    if not outputs:
        raise GraphError("a model has at least one output")
    for index, name in enumerate(outputs):
        if name in inputs:
            raise GraphError(f"the output {name!r} is also an input of the model")
        if name not in names:
            raise GraphError(f"there is no layer {name!r} that could be an output{did_you_mean(str(name), names)}")
        if name in outputs[:index]:
            raise GraphError(f"the output {name!r} is there twice")


def is_part(node: Node) -> bool:
    """Return whether a node is a part of another layer by its name, such as `lstm.0`."""
    return isinstance(node.operation, Part) and node.name == f"{node.inputs[0]}.{node.operation.key}"


def _blocks(name: str) -> Iterator[str]:
    """Yield the names of the nested dicts that a layer is in, the outermost first."""
    *scopes, _ = name.split(".")
    for depth in range(1, len(scopes) + 1):
        yield ".".join(scopes[:depth])


def _cycle(nodes: Sequence[Node]) -> list[str]:
    """Return the names along a cycle of nodes that all need another one, with the data, the first again at the end."""
    sources = {node.name: node.inputs for node in nodes}
    path = [nodes[0].name]
    while path[-1] not in path[:-1]:
        path.append(next(source for source in sources[path[-1]] if source in sources))
    return path[path.index(path[-1]) :][::-1]
