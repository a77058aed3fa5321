"""New graphs of the layers of others, under the same or other names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

from nnray.errors import GraphError
from nnray.graph.architecture import Node, Operation
from nnray.graph.operations import Again, Call, Part
from nnray.graph.ordering import is_part

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule


def with_names(nodes: Iterable[Node], renamed: Callable[[str], str]) -> list[Node]:
    """Return the layers under other names; `renamed` says which, also for their inputs."""
    result = []
    parts: dict[str, str] = {}  # their new names follow from those of the layers that they are parts of
    for node in nodes:
        name, operation = renamed(node.name), node.operation
        inputs = tuple(parts[source] if source in parts else renamed(source) for source in node.inputs)
        if isinstance(operation, Part):
            operation = Part(operation.key, inputs[0])
            if is_part(node):
                name = parts[node.name] = f"{inputs[0]}.{operation.key}"
        result.append(Node(name, operation, inputs))
    return result


def rebuild(
    model: GraphModule, nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str], copy: bool
) -> GraphModule:
    """Return a graph of the given layers in the mode of `model`; with `copy`, one that shares nothing with it."""
    return assemble([model], nodes, inputs, outputs, copy)


def assemble(
    models: Sequence[GraphModule], nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str], copy: bool
) -> GraphModule:
    """Return a graph of layers of several models, in training mode if one of them is."""
    modes = {model._only_mode for model in models} - {None}
    if len(modes) > 1:
        raise GraphError("models that were traced in training mode and in evaluation mode cannot become one")
    training = any(model.training for model in models)
    repeated = {id(called(node)) for model in models for node in model._nodes if node.name in model._repeats}
    result = models[0].from_nodes(_with_repeats(nodes, repeated), inputs=inputs, outputs=outputs, training=training)
    result._only_mode = modes.pop() if modes else None
    return deepcopy(result) if copy else result


def called(node: Node) -> Operation:
    """Return what a layer calls: its operation, without the constants that go with the call."""
    return node.operation.function if isinstance(node.operation, Call) else node.operation


def _with_repeats(nodes: Iterable[Node], repeated: Collection[int]) -> Iterator[Node]:
    """Leave further uses of these modules without entries in `state_dict()`, as in the traced models they are from."""
    first: dict[int, str] = {}
    for node in nodes:
        module = called(node)
        if id(module) in repeated and id(module) in first:
            again = Again(first[id(module)])
            node = node._replace(operation=node.operation.of(again) if isinstance(node.operation, Call) else again)
        first.setdefault(id(module), node.name)
        yield node
