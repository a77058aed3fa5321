"""Pictures of graphs, laid out by Graphviz or Mermaid."""

from nnray.graph.drawing.drawing import Drawing

__all__ = ["Drawing"]
