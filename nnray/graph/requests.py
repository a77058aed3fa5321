"""What is asked of a graph: from which values to which, and which layers that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from nnray.errors import GraphError
from nnray.graph.effects import Fact
from nnray.graph.lookup import add_parts, present_layers
from nnray.graph.names import check_name, select
from nnray.graph.operations import Size, Value
from nnray.graph.plan import Plan, needed

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

Request: TypeAlias = "tuple[tuple[str, ...] | int, str | tuple[str, ...] | None, bool]"
"""`(given, outputs, grad)`: names of the given values, or how many of the model's inputs are given; names or globs of
the outputs, or None for the model's own; and whether autograd records the run."""


def planned(model: GraphModule, request: Request) -> Plan:
    """Make the plan of a request to a graph.

    Raises:
        GraphError: A name is unknown, an input is missing, or there are too many.
    """
    given, outputs, grad = request
    if isinstance(given, int):
        if given > len(model._inputs):
            expected = "1 input" if len(model._inputs) == 1 else f"{len(model._inputs)} inputs"
            listed = ", ".join(map(repr, model._inputs))
            raise GraphError(f"the model takes {expected} ({listed}), but {given} were given")
        given = model._inputs[:given]
    facts: list[Fact] = []
    layers = present_layers(model, facts)
    add_parts(model, layers, given)
    add_parts(model, layers, outputs)
    for name in given:
        check_name(name, tuple(layers), model._inputs)
    if outputs is None:
        wanted = model._outputs
    else:
        globbed = [name for name, node in layers.items() if not isinstance(node.operation, Size | Value)]
        wanted = select(outputs, globbed, (*model._inputs, *(layers.keys() - globbed)))
    return Plan(needed(layers, model._inputs, given, wanted), given, wanted, grad, facts)
