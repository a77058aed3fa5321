"""Graphs in Mermaid, the language of diagrams in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nnray.graph.drawing.folding import Folded, Repetition
from nnray.graph.drawing.labels import COLOURS, kind, operation_label, shape_label
from nnray.graph.drawing.stacks import Box, Stack, boxes


def mermaid(folded: Folded, inputs: Sequence[str], shapes: Mapping[str, Any]) -> str:
    """Return the picture of a graph as Mermaid text: a subgraph per nested dict, in it a coloured box per layer.

    Args:
        folded: The layers to show.
        inputs: Names of the model's inputs.
        shapes: Shapes of inputs and layers, as far as they are known.
    """
    ids = {name: f"input{index}" for index, name in enumerate(inputs)}
    ids |= {node.name: f"layer{index}" for index, node in enumerate(folded.nodes)}
    lines = ["flowchart TB"]
    lines += [f'    {ids[name]}(["{_label(name, "", shapes.get(name))}"])' for name in inputs]
    lines += _lines(boxes(folded.nodes, folded.outputs), 1, folded.repetitions, shapes, ids)
    lines.append('    output(["<b>output</b>"])')
    lines += [f"    {ids[source]} --> {ids[node.name]}" for node in folded.nodes for source in node.inputs]
    lines += [f"    {ids[name]} --> output" for name in folded.outputs]
    used = dict.fromkeys(kind(node.operation) for node in folded.nodes)
    lines += [f"    classDef {name} fill:{COLOURS[name]},stroke:#888888,color:#000000" for name in used]
    return "\n".join(lines) + "\n"


def _lines(
    box: Box, depth: int, repetitions: Mapping[str, Repetition], shapes: Mapping[str, Any], ids: Mapping[str, str]
) -> list[str]:
    indent = "    " * depth
    lines = []
    for item in box.items:
        if isinstance(item, Stack):
            for node in item.nodes:
                label = _label(node.name, operation_label(node.operation), shapes.get(node.name))
                lines.append(f'{indent}{ids[node.name]}["{label}"]:::{kind(node.operation)}')
            continue
        key = item.name.rpartition(".")[2]
        repetition = repetitions.get(item.name)
        if repetition is not None:
            key += f" … {repetition.last.rpartition('.')[2]}, {repetition.times} times"
        first = next(iter(_layers(item)))
        lines.append(f'{indent}subgraph box_{ids[first]}_{depth}["{_text(key)}"]')
        lines += _lines(item, depth + 1, repetitions, shapes, ids)
        lines.append(f"{indent}end")
    return lines


def _layers(box: Box) -> list[str]:
    return [
        name
        for item in box.items
        for name in ([node.name for node in item.nodes] if isinstance(item, Stack) else _layers(item))
    ]


def _label(name: str, operation: str, shape: Any) -> str:
    key = name.rpartition(".")[2]
    lines = [f"<b>{_text(key)}</b>", _text(operation if operation != key else ""), _text(shape_label(shape))]
    return "<br/>".join(filter(None, lines))


def _text(text: str) -> str:
    return escape(text).replace("#", "#35;")
