"""How a graph runs under `torch.compile`.

Dynamo follows Python code once and guards all that the code has read: before each later call it checks that nothing of
it has changed. A `Plan` that it read would be guarded layer by layer, and the layers' modules besides. So the plan is
made out of its sight and reaches it as constants, which say where in the model each operation is found; there the code
takes it from, as a network written by hand does, and a layer that is replaced is noticed as it is there.

What was compiled for one graph so serves all graphs of the same structure, whatever their weights. But all graphs run
the same code, and Dynamo counts compilations per piece of code, towards `torch._dynamo.config.recompile_limit`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph.lookup import Place, place_of
from nnray.graph.module import GraphModule
from nnray.graph.operations import Part, Value
from nnray.graph.plan import Step, copied
from nnray.graph.requests import Request, planned

# A method, because Dynamo would tie what a function returns to the identity of the model.
torch.compiler.assume_constant_result(GraphModule._plan_as_constants)

_COPY, _PART, _VALUE, _CALL = "copy", "part", "value", "call"


def run_traced(model: GraphModule, request: Request, values: list[Any]) -> dict[str, Any]:
    """Compute what is requested, while Dynamo is watching.

    Args:
        model: The graph.
        request: What is given and wanted.
        values: The given values, in their order.

    Returns:
        The wanted values by name.

    Raises:
        GraphError: A name is unknown, or an input is missing.
    """
    error, steps, slots, results = model._plan_as_constants(model._structure, request)
    if error is not None:
        raise GraphError(error)
    values = values + [None] * (slots - len(values))
    for kind, where, called, sources, target, dead in steps:
        arguments = [values[slot] for slot in sources]
        if kind == _COPY:
            values[target] = copied(arguments[0])
        elif kind == _PART:
            values[target] = Part(*where)(arguments[0])
        else:
            operation = _at(model, where)
            if kind == _VALUE:
                values[target] = operation
            elif called is None:
                values[target] = operation(*arguments)
            else:
                values[target] = model._calls[called].apply(operation, arguments)
        for slot in dead:
            values[slot] = None
    return {name: values[slot] for name, slot in results}


def plan_as_constants(model: GraphModule, request: Request) -> tuple[Any, ...]:
    """Return a request's error, or its plan with places for operations: nothing but tuples, strings and numbers."""
    try:
        plan = planned(model, request)
    except GraphError as error:  # raised by the caller, lest Dynamo takes it for its own
        return str(error), (), 0, ()
    return None, tuple(_constant(model, step) for step in plan.steps), plan.slots, plan.results


def _constant(model: GraphModule, step: Step) -> tuple[Any, ...]:
    rest = (step.sources, step.target, step.dead)
    if step.operation is copied:
        return (_COPY, (), None, *rest)
    if isinstance(step.operation, Part):
        return (_PART, (step.operation.key, step.operation.of), None, *rest)
    place = place_of(model, step.name)
    called = step.name if step.name in model._calls else None
    return (_VALUE if isinstance(step.operation, Value) else _CALL, place, called, *rest)


def _at(model: nn.Module, place: Place) -> Any:
    found: Any = model
    for container, key in place:
        found = getattr(found, key) if container == "__dict__" else getattr(found, container)[key]
    return found
