"""Runs of layers that a picture shows as one box with a line per layer, and the boxes around those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nnray.graph.architecture import Node


@dataclass(frozen=True)
class Stack:
    """Layers of one nested dict, each of which reads only the one before and is read only by the one after.

    Args:
        nodes: The layers, in graph order.
    """

    nodes: tuple[Node, ...]


@dataclass
class Box:
    """A nested dict of layers.

    Args:
        name: Its dotted path; empty for the whole model.
        items: Stacks and boxes within, in graph order.
    """

    name: str
    items: list[Stack | Box] = field(default_factory=list)


def boxes(nodes: Sequence[Node], outputs: Sequence[str]) -> Box:
    """Return the model as nested boxes of stacks.

    Args:
        nodes: The layers, in graph order.
        outputs: The model's outputs, each of which ends a stack.
    """
    readers: dict[str, int] = {}
    for node in nodes:
        for source in node.inputs:
            readers[source] = readers.get(source, 0) + 1
    runs: list[list[Node]] = []
    for node in nodes:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and node.inputs == (last.name,)
            and readers[last.name] == 1
            and last.name not in outputs
            and _scope(last.name) == _scope(node.name)
        ):
            runs[-1].append(node)
        else:
            runs.append([node])
    whole = Box("")
    known = {"": whole}
    for run in runs:
        _box(_scope(run[0].name), known).items.append(Stack(tuple(run)))
    return whole


def _box(name: str, known: dict[str, Box]) -> Box:
    if name not in known:
        known[name] = Box(name)
        _box(_scope(name), known).items.append(known[name])
    return known[name]


def _scope(name: str) -> str:
    return name.rpartition(".")[0]
