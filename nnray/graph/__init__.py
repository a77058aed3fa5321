"""Models as explicit computation graphs: declare one as a nested dict, run it from any layers to any layers."""

from nnray.graph.architecture import Node
from nnray.graph.effects import pure
from nnray.graph.freezing import frozen
from nnray.graph.merging import merge
from nnray.graph.module import GraphModule
from nnray.graph.stitching import stitch

__all__ = ["GraphModule", "Node", "frozen", "merge", "pure", "stitch"]
