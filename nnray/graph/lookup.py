"""Where layers live: each is an attribute of the model under its dotted name, and anybody may assign to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nnray.errors import GraphError
from nnray.graph.architecture import GLOB_CHARACTERS, Node, parts_on_the_way
from nnray.graph.assembly import called
from nnray.graph.effects import Fact
from nnray.graph.operations import Again, Call, Operation, Part, Value, structure
from nnray.graph.scope import attribute, declare

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

Place = tuple[tuple[str, str], ...]
"""The way to an attribute: the dict of the module that has it, such as `_modules`, and its key, module by module."""


def declare_layer(model: GraphModule, node: Node) -> None:
    """Make a layer's operation the attribute of its name.

    Raises:
        GraphError: The name is something else's.
    """
    operation = node.operation
    if isinstance(operation, Part) and node.name.rpartition(".")[0] == node.inputs[0]:
        return  # its name says it all
    if isinstance(operation, Call) and isinstance(operation.function, nn.Module | Again):
        # The module is the attribute, so that its parameters have the layer's name.
        model._calls[node.name] = operation.of(structure)
        operation = operation.function
    declare(model, node.name, operation)


def structure_of(nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Return what graphs have in common that differ in nothing but their modules and functions."""
    layers = []
    for node in nodes:
        function = called(node)
        kinds = [type(each).__name__ for each in (node.operation, function) if isinstance(each, Call | Value | Part)]
        layers.append((node.name, node.inputs, kinds, function.of if isinstance(function, Again) else None))
    return repr((inputs, outputs, layers))


def present_layers(model: GraphModule, facts: list[Fact]) -> dict[str, Node]:
    """Return all layers by name, with the operations that they have now; `facts` notes where those were found.

    Raises:
        GraphError: A layer has been removed.
    """
    scopes: dict[str, nn.Module] = {"": model}

    def operation_of(name: str) -> Operation:
        *parents, key = name.split(".")
        block = ".".join(parents)
        if model._sources[name] == (block,) and (block in model._sources or block in model._inputs):
            return Part(key, block)
        path = ""
        for parent in parents:
            outer, path = scopes[path], f"{path}.{parent}" if path else parent
            if path not in scopes:
                scopes[path] = attribute(outer, parent, f"the nested dict {path!r}", facts)
        scope = scopes[path]
        if key in scope._parameters or key in scope._buffers or is_parametrized(scope, key):
            return Value(scope, key)
        operation = attribute(scope, key, f"the layer {name!r}", facts)
        if isinstance(operation, Again):
            operation = operation_of(operation.of)
            if isinstance(operation, Call):  # that is how the other layer calls it
                operation = operation.function
        call = model._calls.get(name)
        return operation if call is None else call.of(operation)

    return {name: Node(name, operation_of(name), sources) for name, sources in model._sources.items()}


def add_parts(model: GraphModule, layers: dict[str, Node], names: Any) -> None:
    """Add to the layers those parts of their values that names (or a single one) mention.

    Raises:
        GraphError: A name is that of a layer of a graph that is one layer here.
    """
    for name in (names,) if isinstance(names, str) or not isinstance(names, Iterable) else names:
        if isinstance(name, str) and GLOB_CHARACTERS.isdisjoint(name):
            for part in parts_on_the_way(name, {*model._inputs, *layers}):
                check_not_inside(part.name, layers)
                layers[part.name] = part


def check_not_inside(name: str, layers: Mapping[str, Node]) -> None:
    """Raise a GraphError if a name is that of a layer of a graph that is itself one of the layers."""
    outer, _, inner = name.rpartition(".")
    while outer and outer not in layers:
        outer, _, key = outer.rpartition(".")
        inner = f"{key}.{inner}"
    graph = called(layers[outer]) if outer else None
    names = getattr(graph, "_sources", ())
    if inner in names and not (len(graph._outputs) > 1 and inner in graph._outputs):  # type: ignore[union-attr]
        raise GraphError(
            f"{name!r} is inside of {outer!r}, which is a graph by itself and one layer here: "
            f"ask that graph, an attribute of the model, for its layer {inner!r}"
        )


def place_of(model: GraphModule, name: str) -> Place:
    """Return where the layer of this name has its operation, which is no part of another layer's value."""
    place = []
    scope: Any = model
    for key in name.split("."):
        containers = ("_parameters", "_buffers", "_modules", "__dict__")
        # Where none of them has it, it is a parametrized parameter, which is a property.
        container = next((each for each in containers if key in getattr(scope, each, ())), "__dict__")
        place.append((container, key))
        scope = getattr(scope, key) if container == "__dict__" else getattr(scope, container)[key]
    return place_of(model, scope.of) if isinstance(scope, Again) else tuple(place)
