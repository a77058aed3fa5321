"""Pictures of graphs, laid out by Graphviz or Mermaid."""

from nnray.graph.drawing.drawing import Drawing, draw, mimebundle

__all__ = ["Drawing", "draw", "mimebundle"]
