"""Models as explicit computation graphs: declare one as a nested dict, run it from any layers to any layers."""

from nnray.graph.architecture import Node
from nnray.graph.effects import pure
from nnray.graph.module import GraphModule

__all__ = ["GraphModule", "Node", "pure"]
