"""The layers of a graph as a table, with shapes and multiply-adds that are worked out without computing anything.

Shapes come from a run on fake tensors, which have a shape, a type and a device but no values. Multiply-adds are those
of convolutions, matrix products and attention, half of what `torch.utils.flop_counter` counts; additions,
normalisations and activations count nothing, as is usual in papers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from nnray.errors import GraphError
from nnray.graph.operations import Value
from nnray.graph.quiet import errors_said_once

if TYPE_CHECKING:
    import pandas as pd

    from nnray.graph.module import GraphModule

Example: TypeAlias = "Tensor | Sequence[int] | Mapping[str, Tensor | Sequence[int]]"
"""An input as a tensor (a batch) or as the shape of one example, or a dict of those for all inputs."""

_BATCH = 2  # examples in a batch of fake ones: with a single one, batch normalisation refuses images of one pixel


def layers(model: GraphModule, example: Example | None = None) -> pd.DataFrame:
    """Return a table of all layers. Nothing is computed: the shapes come from a run on fake tensors.

    Args:
        example: The shape of one example, such as `(3, 32, 32)`, or a tensor, which is a batch. A model with several
            inputs takes a dict from their names to shapes or tensors. Left out, it is the attribute `example_shape`,
            which the models of `nnray.models` have; without one, shapes and multiply-adds are missing.

    Returns:
        A row per layer in graph order, with the columns `name`, `operation` (a class or function), `inputs` (names),
        `output_shape` (for one example; where a layer returns several tensors, a tuple or dict of shapes), `parameters`
        (how many; those of several layers count for the first alone, so that the sum is that of the model) and
        `multiply_adds` (for one example, of convolutions, matrix products and attention).

    Raises:
        GraphError: The example does not fit the model, or a layer cannot be run without values.
    """
    import pandas as pd

    shapes, multiply_adds = measure(model, example)
    counts = parameter_counts(model)
    nodes = model._nodes
    return pd.DataFrame(
        {
            "name": pd.Series([node.name for node in nodes], dtype=object),
            "operation": pd.Series([operation_name(node.operation) for node in nodes], dtype=object),
            "inputs": pd.Series([node.inputs for node in nodes], dtype=object),
            "output_shape": pd.Series([shapes.get(node.name) for node in nodes], dtype=object),
            "parameters": pd.Series([counts[node.name] for node in nodes], dtype="int64"),
            "multiply_adds": pd.Series([multiply_adds.get(node.name) for node in nodes], dtype="Int64"),
        }
    )


def operation_name(operation: Any) -> str:
    """Return how people call an operation: the class of a module, the name of a function."""
    if isinstance(operation, nn.Module):
        return type(operation).__name__
    if isinstance(operation, Value):
        return "Parameter" if isinstance(operation(), nn.Parameter) else "Buffer"
    if isinstance(operation, functools.partial):
        return operation_name(operation.func)
    function = getattr(operation, "function", None)  # a call with constants, as tracing makes them
    if callable(function):
        return operation_name(function)
    return getattr(operation, "__name__", type(operation).__name__)


def parameter_counts(model: GraphModule) -> dict[str, int]:
    """Return the number of parameters of each layer; those of several layers count for the first one alone."""
    seen: set[int] = set()
    counts = {}
    for node in model._nodes:
        own = {id(parameter): parameter.numel() for parameter in _parameters(node.operation)}
        counts[node.name] = sum(count for key, count in own.items() if key not in seen)
        seen |= own.keys()
    return counts


def _parameters(operation: Any) -> Iterable[Tensor]:
    if isinstance(operation, nn.Module):
        return operation.parameters()
    if isinstance(operation, Value):
        value = operation()
        return [value] if isinstance(value, nn.Parameter) else []
    function = getattr(operation, "function", None)
    return [] if function is None else _parameters(function)


def measure(model: GraphModule, example: Example | None = None) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the shapes of inputs and layers, and the multiply-adds of layers, both per example.

    Args:
        model: The graph.
        example: What `GraphModule.layers` documents. Without any, both are empty.

    Raises:
        GraphError: The example does not fit the model's inputs, or a layer cannot be run without values.
    """
    if example is None:
        example = getattr(model, "example_shape", None)
        if example is None:
            return {}, {}
    with (
        FakeTensorMode(allow_non_fake_inputs=True) as fake,
        torch.no_grad(),
        _countable_attention(),
        errors_said_once(),
    ):
        run = _FakeRun(model)
        # A run writes into buffers, such as those that count batches.
        state: dict[str, Tensor] = {
            key: fake.from_tensor(tensor) for key, tensor in chain(run.named_parameters(), run.named_buffers())
        }
        return torch.func.functional_call(run, state, (fake_inputs(model, example, fake),))


class _FakeRun(nn.Module):
    """Runs a graph layer by layer, as a module, so that its state can be exchanged."""

    def __init__(self, model: GraphModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        batch = next((value.shape[0] for value in values.values() if value.dim()), 1)
        from torch.utils.flop_counter import FlopCounterMode  # takes a while to import

        shapes = {name: _shape(value, batch) for name, value in values.items()}
        multiply_adds = {}
        before = 0
        with FlopCounterMode(display=False) as counter:
            for node in self.model._nodes:
                try:
                    values[node.name] = node.operation(*[values[source] for source in node.inputs])
                except Exception as error:
                    raise _error(node.name, error, [_shape(values[source], batch) for source in node.inputs]) from error
                after = counter.get_total_flops()
                multiply_adds[node.name] = -(-(after - before) // (2 * max(batch, 1)))
                before = after
                shapes[node.name] = _shape(values[node.name], batch)
        return shapes, multiply_adds


def fake_inputs(model: GraphModule, example: Example, fake: FakeTensorMode) -> dict[str, Tensor]:
    """Return fake inputs of a model, by name.

    Raises:
        GraphError: The example is none, or not one of all the model's inputs.
    """
    given = example if isinstance(example, Mapping) else {model._inputs[0]: example}
    missing = [name for name in model._inputs if name not in given]
    unknown = [name for name in given if name not in model._inputs]
    if missing or unknown:
        what = f"does not give the input {missing[0]!r}" if missing else f"gives {unknown[0]!r}, which is no input"
        raise GraphError(f"the example {what}: the model's inputs are {', '.join(map(repr, model._inputs))}")
    like = next(model.parameters(), torch.empty(0))
    return {name: _input(name, given[name], like, fake) for name in model._inputs}


def _input(name: str, example: Any, like: Tensor, fake: FakeTensorMode) -> Tensor:
    if isinstance(example, Tensor):
        return fake.from_tensor(example.detach())
    sizes = list(example) if isinstance(example, Iterable) else [example]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise GraphError(
            f"an example is a tensor or the shape of one such as (3, 32, 32), not {example!r} for {name!r}"
        )
    return torch.empty(_BATCH, *sizes, dtype=like.dtype, device=like.device)


def _shape(value: Any, batch: int) -> Any:
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        return shape[1:] if shape[:1] == (batch,) else shape
    if isinstance(value, Mapping):
        return {key: _shape(item, batch) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_shape(item, batch) for item in value)
    return None


def _error(name: str, error: Exception, shapes: Sequence[Any]) -> GraphError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return GraphError(
        f"the layer {name!r} cannot be run on an example with inputs of {', '.join(map(str, shapes))}: {reason}"
    )


@contextmanager
def _countable_attention() -> Iterator[None]:
    """Keep `nn.MultiheadAttention` from its fused kernel, whose operations cannot be counted."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)
