"""Changes to a graph's layers, each of which returns a new graph. They are methods of `GraphModule`.

The new graph is made of the same operations, and thus shares their parameters, buffers and modes, unless `copy=True`
asks for a graph of its own. The graph that is operated on, its modules and its hooks stay as they are. Hooks of layers
come along with them; hooks of the whole graph, and attributes that are not layers, do not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from nnray.errors import GraphError
from nnray.graph.architecture import Node, Operation
from nnray.graph.assembly import rebuild, with_names
from nnray.graph.lookup import add_parts, check_not_inside
from nnray.graph.names import check_name, select
from nnray.graph.operations import Size, Value
from nnray.graph.ordering import is_part
from nnray.graph.plan import needed

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule


def submodel(
    model: GraphModule,
    inputs: str | Iterable[str] | None = None,
    outputs: str | Iterable[str] | None = None,
    *,
    copy: bool = False,
) -> GraphModule:
    """Cut a part out of the graph: the layers that compute `outputs` from `inputs`.

    Args:
        inputs: Names or globs of the layers (or inputs) whose values the part starts from; left out, the model's
            inputs. They become the part's inputs, under their own names and in this order.
        outputs: Names or globs of the layers that the part ends with; left out, the model's outputs.
        copy: Whether the part has parameters of its own.

    Returns:
        A graph whose layers have the same names and values as in the model. With one output, calling it returns that
        value, with several a dict.

    Raises:
        GraphError: A name is unknown, an output is also an input, or the outputs need a value that the inputs don't
            determine, such as that of a shortcut around the cut.
    """
    nodes = _layers(model, inputs, outputs)
    given = model._inputs if inputs is None else chosen(inputs, nodes, model._inputs)
    wanted = model._outputs if outputs is None else chosen(outputs, nodes, model._inputs)
    for name in wanted:
        if name in given:
            raise GraphError(f"the output {name!r} is also an input of the submodel")
    _check_cut(nodes.values(), given, wanted)
    return rebuild(model, needed(nodes, model._inputs, given, wanted), given, wanted, copy)


def insert(
    model: GraphModule,
    name: str,
    operation: Operation,
    *,
    after: str | None = None,
    before: str | None = None,
    copy: bool = False,
) -> GraphModule:
    """Put a new layer between two others.

    Args:
        name: Full name of the new layer.
        operation: The module or function of one argument that computes it.
        after: The layer (or input) whose value it gets. All layers that read that value now read the new layer's, which
            also takes its place among the model's outputs.
        before: The only layer that reads the new layer's value, in place of its input. A layer with several inputs
            needs `after` too, to say in place of which.
        copy: Whether the new graph has parameters of its own, those of the operation included.

    Returns:
        A graph with one layer more.

    Raises:
        GraphError: A layer is unknown or not said, the name is not allowed or taken, or `before` does not read `after`.
    """
    if after is None and before is None:
        raise GraphError(f"after (or before) which layer is {name!r} to be inserted?")
    layers = _layers(model, after)
    names = list(layers)
    outputs = model._outputs
    if after is not None:
        check_name(after, names, model._inputs)
    if before is not None:
        check_name(before, names, ())
        source = _edge(layers[before], after)
        readers, place = [before], names.index(before)
    else:
        assert after is not None
        source = after
        readers, place = names, 0 if after in model._inputs else names.index(after) + 1
        outputs = tuple(name if output == after else output for output in outputs)
    for reader in readers:
        node = layers[reader]
        if is_part(node) and source in node.inputs:
            raise GraphError(
                f"the value of {source!r} has the part {reader!r} that is used by itself: insert after that"
            )
        layers[reader] = node._replace(inputs=tuple(name if value == source else value for value in node.inputs))
    changed = list(layers.values())
    changed.insert(place, Node(name, operation, (source,)))
    return rebuild(model, changed, model._inputs, outputs, copy)


def replace(model: GraphModule, name: str, operation: Operation, *, copy: bool = False) -> GraphModule:
    """Give a layer another operation.

    Args:
        name: Full name of the layer, which keeps its name and its inputs.
        operation: The module or function that computes it from now on.
        copy: Whether the new graph has parameters of its own, those of the operation included.

    Returns:
        A graph with the same layers.

    Raises:
        GraphError: There is no such layer, or the operation is none.
    """
    if isinstance(name, str):
        check_not_inside(name, _layers(model))
    check_name(name, model._names, ())
    nodes = [node._replace(operation=operation) if node.name == name else node for node in model._nodes]
    return rebuild(model, nodes, model._inputs, model._outputs, copy)


def rename(model: GraphModule, names: Mapping[str, str], *, copy: bool = False) -> GraphModule:
    """Give layers, nested dicts of layers or inputs other names; all happens at once, so that two may swap theirs.

    Args:
        names: From full names to new full names. The layers in a nested dict move with it, unless they are renamed
            themselves; a nested dict that gets the empty name is dissolved, and its layers are at the top.
        copy: Whether the new graph has parameters of its own.

    Returns:
        A graph with the same layers under their new names, and the entries of its `state_dict()` likewise.

    Raises:
        GraphError: A name is unknown, a new one is not allowed, or two layers would have the same.
    """
    if not isinstance(names, Mapping):
        raise GraphError(f"rename takes a dict from names to new names, such as {{'relu': 'act'}}, not {names!r}")
    parts = {node.name: node.inputs[0] for node in model._nodes if is_part(node)}
    for old, new in names.items():
        if old in parts:
            raise GraphError(f"{old!r} cannot have another name: it is a part of the value of {parts[old]!r}")
        if not any(name.startswith(f"{old}.") for name in model._names):
            if isinstance(old, str):
                check_not_inside(old, _layers(model))
            check_name(old, model._names, model._inputs)
        if not isinstance(new, str):
            raise GraphError(f"the new name of {old!r} must be a string, not {new!r}")

    def renamed(name: str) -> str:
        block, rest = name, ""
        while block not in names:
            block, dot, key = block.rpartition(".")
            if not dot:
                return name
            rest = f".{key}{rest}"
        return names[block] + rest if names[block] else rest[1:]

    inputs, outputs = tuple(map(renamed, model._inputs)), tuple(map(renamed, model._outputs))
    return rebuild(model, with_names(model._nodes, renamed), inputs, outputs, copy)


def prune(model: GraphModule, outputs: str | Iterable[str] | None = None, *, copy: bool = False) -> GraphModule:
    """Drop all layers that the outputs don't need.

    Args:
        outputs: Names or globs of the layers that the new graph's outputs are; left out, the model's outputs.
        copy: Whether the new graph has parameters of its own.

    Returns:
        A graph with the model's inputs, also those that no layer needs any more. With one output, calling it returns
        that value, with several a dict.

    Raises:
        GraphError: A name is unknown, or an output is an input of the model.
    """
    return submodel(model, None, outputs, copy=copy)


def chosen(patterns: str | Iterable[str], nodes: Mapping[str, Node], inputs: Sequence[str]) -> tuple[str, ...]:
    """Return the names that patterns stand for in a graph; globs mean neither parameters nor sizes, as in `forward`."""
    layers = [name for name, node in nodes.items() if not isinstance(node.operation, Size | Value)]
    return select(patterns, layers, (*inputs, *(nodes.keys() - layers)))


def _layers(model: GraphModule, *requests: str | Iterable[str] | None) -> dict[str, Node]:
    """Return the layers of a graph by name, with those parts of their values that requests mention."""
    layers = {node.name: node for node in model._nodes}
    for request in requests:
        add_parts(model, layers, request)
    return layers


def _edge(reader: Node, source: str | None) -> str:
    """Return which of its inputs a layer is to read through a new one."""
    listed = ", ".join(map(repr, dict.fromkeys(reader.inputs)))
    if source is None:
        if len(set(reader.inputs)) != 1:
            has = f"has the inputs {listed}: say after which" if reader.inputs else "has no inputs"
            raise GraphError(f"the layer {reader.name!r} {has}")
        return reader.inputs[0]
    if source not in reader.inputs:
        raise GraphError(f"the layer {reader.name!r} does not read {source!r}, but {listed or 'nothing'}")
    return source


def _check_cut(nodes: Collection[Node], given: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a GraphError for the first layer that the outputs need and that values around the cut flow into."""
    relevant = set(wanted)
    for node in reversed(list(nodes)):
        if node.name in relevant and node.name not in given:
            relevant.update(node.inputs)
    touched, determined = set(given), set(given)
    for node in nodes:
        if node.name in given:
            continue
        if all(source in determined for source in node.inputs):
            determined.add(node.name)
        if any(source in touched for source in node.inputs):
            touched.add(node.name)
            missing = [source for source in node.inputs if source not in determined and source not in touched]
            if missing and node.name in relevant:
                cut = ", ".join(map(repr, given))
                raise GraphError(
                    f"the layer {node.name!r} also needs {missing[0]!r}, which does not come from {cut}: "
                    "make it an input too, or cut where no shortcut passes by"
                )
