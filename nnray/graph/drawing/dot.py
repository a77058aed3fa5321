"""Graphs in DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nnray.graph.architecture import Node
from nnray.graph.drawing.folding import Folded, Repetition
from nnray.graph.drawing.labels import COLOURS, kind, operation_label, shape_label
from nnray.graph.drawing.stacks import Box, Stack, boxes

if TYPE_CHECKING:
    import graphviz

_FONT = "Helvetica,Arial,sans-serif"
_BACKGROUNDS = ("#ffffff", "#f4f6f8", "#e9edf1")  # of nested boxes, by depth


def dot(folded: Folded, inputs: Sequence[str], shapes: Mapping[str, Any]) -> str:
    """Return the picture of a graph as DOT text: a box per nested dict, in it tables with a coloured row per layer.

    Args:
        folded: The layers to show.
        inputs: Names of the model's inputs.
        shapes: Shapes of inputs and layers, as far as they are known.
    """
    import graphviz

    graph = graphviz.Digraph(
        graph_attr={
            "fontname": _FONT,
            "fontsize": "11",
            "ranksep": "0.25",
            "nodesep": "0.35",
            "bgcolor": "white",
            "ordering": "in",
        },
        node_attr={"fontname": _FONT, "fontsize": "10", "shape": "plain"},
        edge_attr={"arrowsize": "0.6", "color": "#555555"},
    )
    ids = {name: f"input{index}" for index, name in enumerate(inputs)}
    for name in inputs:
        label = _bold(name) + (f"<BR/>{escape(shape_label(shapes[name]))}" if name in shapes else "")
        graph.node(ids[name], f"<{label}>", shape="box", style="rounded,filled", fillcolor="white", margin="0.12,0.06")
    _add(graph, boxes(folded.nodes, folded.outputs), 0, folded.repetitions, shapes, ids)
    for node in folded.nodes:
        for source in node.inputs:
            if ids[source] != ids[node.name]:
                graph.edge(ids[source], ids[node.name])
    graph.node("output", "<<B>output</B>>", shape="box", style="rounded,filled", fillcolor="white", margin="0.12,0.06")
    for name in folded.outputs:
        graph.edge(ids[name], "output")
    return graph.source


def _add(
    graph: graphviz.Digraph,
    box: Box,
    depth: int,
    repetitions: Mapping[str, Repetition],
    shapes: Mapping[str, Any],
    ids: dict[str, str],
) -> None:
    import graphviz

    for item in box.items:
        if isinstance(item, Stack):
            identity = f"layer{len(ids)}"
            ids.update((node.name, identity) for node in item.nodes)
            tooltip = ", ".join(node.name for node in item.nodes)
            graph.node(identity, f"<{_table(item.nodes, shapes)}>", tooltip=graphviz.escape(tooltip))
            continue
        with graph.subgraph(name=f"cluster{len(ids)}_{depth}") as cluster:
            repetition = repetitions.get(item.name)
            key = escape(item.name.rpartition(".")[2])
            if repetition is None:
                label = f"<<B>{key}</B>>"
            else:
                last = escape(repetition.last.rpartition(".")[2])
                label = f'<<B>{key} … {last}</B><BR ALIGN="LEFT"/>{repetition.times} times<BR ALIGN="LEFT"/>>'
            cluster.attr(
                label=label,
                labeljust="l",
                tooltip=graphviz.escape(item.name),
                style="rounded,filled" + (",bold" if repetition else ""),
                color="#4a6785" if repetition else "#b0b8c0",
                fillcolor=_BACKGROUNDS[min(depth + 1, len(_BACKGROUNDS) - 1)],
                margin="10",
            )
            _add(cluster, item, depth + 1, repetitions, shapes, ids)


def _table(nodes: Sequence[Node], shapes: Mapping[str, Any]) -> str:
    rows = []
    for node in nodes:
        colour = COLOURS[kind(node.operation)]
        key, operation = node.name.rpartition(".")[2], operation_label(node.operation)
        cells = [
            _bold(key),
            escape(operation if operation != key else ""),
            *([escape(shape_label(shapes[node.name]))] if node.name in shapes else []),
        ]
        filled = (f'<TD ALIGN="LEFT" BGCOLOR="{colour}">{cell or " "}</TD>' for cell in cells)
        rows.append(f"<TR>{''.join(filled)}</TR>")
    return f'<TABLE BORDER="1" COLOR="#888888" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4">{"".join(rows)}</TABLE>'


def _bold(text: str) -> str:
    return f"<B>{escape(text)}</B>"
