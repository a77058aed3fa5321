"""From a module to the calls that it makes, by symbolic tracing with torch.fx.

torch.fx runs the module's Python code on stand-ins for tensors and records what is done to them (Reed et al. 2022,
"torch.fx: Practical Program Capture and Transformation for Deep Learning in Python").
"""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from nnray.errors import GraphError
from nnray.graph.leaves import Leaves

_TORCH = str(Path(torch.__file__).parent)
SCOPE = "nnray_scope"  # where a node of fx's graph notes the path of the module that makes the call
CONSTANT = "nnray_constant"  # and where one that stands for a tensor of the code, not of the module, keeps it


class _Tracer(fx.Tracer):
    """Trace down to the leaves, and note where each call is made."""

    proxy_buffer_attributes = True  # else values computed from buffers would be constants

    def __init__(self, leaves: Leaves, inputs: tuple[str, ...]) -> None:
        super().__init__(autowrap_functions=tuple(leaves.functions), param_shapes_constant=True)
        self._leaves = leaves
        self._inputs = inputs
        self.scopes: list[tuple[str, nn.Module]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Ask the leaves."""
        return (module_qualified_name, m) in self._leaves

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """Stand in for buffers as for parameters, of which torch.fx knows the shapes; it does not for buffers."""
        self.param_shapes_constant = isinstance(attr_val, nn.Parameter)
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Note which module is being called, also for the error that may come."""
        self.scopes.append((self.path_of_module(m), m))
        result = super().call_module(m, forward, args, kwargs)
        self.scopes.pop()
        return result

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Note in which module it is."""
        node = super().create_node(kind, *args, **kwargs)
        node.meta[SCOPE] = self.scopes[-1][0] if self.scopes else ""
        return node

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Make stand-ins for the chosen inputs only: all other arguments have their defaults, as in a plain call."""
        stand_ins = {name: self.create_proxy("placeholder", name, (), {}) for name in self._inputs}
        positional = [name for name in inspect.signature(root_fn).parameters if name in stand_ins]
        if len(positional) < len(stand_ins):  # *args
            return root_fn, [self.root, *stand_ins.values()]
        return lambda: root_fn(self.root, **stand_ins), []


def fx_graph(module: nn.Module, leaves: Leaves, inputs: tuple[str, ...]) -> fx.Graph:
    """Trace a module.

    Args:
        module: The module, which is left unchanged.
        leaves: Its submodules that are one call each.
        inputs: Names of the arguments of its `forward` that are inputs; the others have their defaults.

    Returns:
        A graph whose nodes have the path of the calling module in `meta[SCOPE]`, and which refers to parameters,
        buffers and tensors of the module by their paths; a tensor that is none of those is in `meta[CONSTANT]`.

    Raises:
        GraphError: The module cannot be traced; the message names the submodule and the line.
    """
    tracer = _Tracer(leaves, inputs)
    before = set(module.__dict__)
    try:
        graph = tracer.trace(module)
    except Exception as error:
        raise GraphError(reason(error, tracer.scopes, module)) from error
    finally:
        constants = {name: module.__dict__.pop(name) for name in set(module.__dict__) - before}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in constants:
            node.meta[CONSTANT] = constants[node.target]
    return graph


def reason(error: Exception, scopes: list[tuple[str, nn.Module]], root: nn.Module) -> str:
    """Say in one line which module and which line of its code could not be traced, and why."""
    path, module = scopes[-1] if scopes else ("", root)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_TORCH)]
    frames = [frame for frame in frames if frame.filename != __file__]
    where = ""
    if frames:
        file, line = frames[-1].filename, frames[-1].lineno or 0
        where = f", {file}:{line}: `{linecache.getline(file, line).strip()}`"
    what = f"{path!r} ({type(module).__name__})" if path else type(module).__name__
    first_line = str(error).split("\n", 1)[0]
    return f"cannot trace {what}{where}: {first_line}"
