"""Several graphs as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from nnray.errors import GraphError, did_you_mean
from nnray.graph.architecture import Node, check_key
from nnray.graph.assembly import assemble, with_names
from nnray.graph.module import GraphModule, check_graph
from nnray.graph.surgery import chosen


def merge(
    models: Mapping[str, GraphModule],
    inputs: Mapping[str, str] | None = None,
    outputs: str | Iterable[str] | None = None,
    *,
    copy: bool = False,
) -> GraphModule:
    """Put several graphs into one, each under a prefix, and let some read what others compute.

    Example:
        >>> merge({"teacher": teacher, "student": student})            # both see the input; a dict of both outputs
        >>> merge({"body": body, "head": head}, {"head.input": "body"})  # one after the other

    Args:
        models: From prefixes to graphs: the layer `relu` of the model at `body` becomes `body.relu`.
        inputs: From inputs of the models, such as `head.input`, to what they get: the name of a layer, such as
            `body.relu`; a prefix, which stands for the only output of that model; or a name without dots, which becomes
            an input of the whole. An input that is left out becomes an input of the whole by its own name, so that
            models that call theirs the same share it.
        outputs: Names or globs of the layers that are the outputs of the whole. Left out, they are the models' outputs
            that no other model gets.
        copy: Whether the new graph has parameters of its own.

    Returns:
        A graph of all the models' layers, sharing their parameters. With one output, calling it returns that value,
        with several a dict.

    Raises:
        GraphError: A prefix is not allowed, an input or layer is unknown, the models form a cycle, or there would be no
            input or output left.
    """
    if not isinstance(models, Mapping):
        raise GraphError(f"merge takes a dict from prefixes to graphs, such as {{'a': model}}, not {_brief(models)}")
    if not isinstance(inputs, Mapping | None):
        raise GraphError(
            f"inputs must be a dict from inputs of the models to what they get, such as {{'b.input': 'a'}}, "
            f"not {_brief(inputs)}"
        )
    wiring = dict(inputs or {})
    nodes: list[Node] = []
    for prefix, model in models.items():
        check_key(prefix, "the model")
        check_graph(model, f"the model {prefix!r}")
        named = {name: f"{prefix}.{name}" for name in (*model._names, *model._inputs)}
        nodes.extend(with_names(model._nodes, named.__getitem__))
    if not nodes:
        raise GraphError("there are no models to merge")
    every_input = {f"{prefix}.{name}": name for prefix, model in models.items() for name in model._inputs}
    for name in wiring:
        if name not in every_input:
            raise GraphError(f"none of the models has an input {name!r}{did_you_mean(str(name), every_input)}")
    layers = [node.name for node in nodes]
    sources = {
        name: _source(name, wiring[name], models, layers) if name in wiring else own
        for name, own in every_input.items()
    }
    nodes = [node._replace(inputs=tuple(sources.get(source, source) for source in node.inputs)) for node in nodes]
    free = tuple(dict.fromkeys(source for source in sources.values() if source not in layers))
    if outputs is None:
        ends = [f"{prefix}.{name}" for prefix, model in models.items() for name in model._outputs]
        ends = [name for name in ends if name not in sources.values()]
    else:
        ends = list(chosen(outputs, {node.name: node for node in nodes}, free))
    return assemble(list(models.values()), nodes, free, ends, copy)


def _source(name: str, source: str, models: Mapping[str, GraphModule], layers: list[str]) -> str:
    """Return the layer or the input of the whole that is given to the input `name`."""
    if not isinstance(source, str):
        raise GraphError(f"the input {name!r} gets {_brief(source)}, which is not a name")
    if source in models:
        ends = models[source]._outputs
        if len(ends) > 1:
            listed = ", ".join(repr(f"{source}.{end}") for end in ends)
            raise GraphError(f"the input {name!r} gets {source!r}, which has several outputs: name one of {listed}")
        return f"{source}.{ends[0]}"
    if source in layers or "." not in source:
        return source
    raise GraphError(f"the input {name!r} gets {source!r}, which is no layer{did_you_mean(source, layers)}")


def _brief(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, nn.Module) or len(repr(value)) > 40 else repr(value)
