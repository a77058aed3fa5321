"""From the calls that a module makes to the layers of a graph: what each computes, and what it is called.

Code may change a tensor after it has been handed on; a graph may not. So whatever reads a tensor after an operation
has written into it reads that operation's result here, which is the same tensor in the module.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn

from nnray.errors import GraphError
from nnray.graph.architecture import Node
from nnray.graph.effects import effect_of
from nnray.graph.fx_tracing import CONSTANT, SCOPE
from nnray.graph.operations import Again, Call, Input, Method, Overload, Part, Size, Value, structure

_SIZES = frozenset(["shape", "ndim", "dtype", "device", "layout", "is_cuda", "requires_grad", "itemsize", "names"])
_SIZE_METHODS = frozenset(["size", "dim", "numel", "nelement", "ndimension", "stride", "get_device"])
_SIZE_OVERLOADS = ("aten.sym_size", "aten.sym_numel", "aten.sym_stride")
_VIEWS = frozenset(
    [
        *("view", "view_as", "reshape", "flatten", "unflatten", "ravel", "permute", "transpose", "swapaxes", "movedim"),
        *("t", "T", "mT", "expand", "expand_as", "squeeze", "unsqueeze", "narrow", "select", "getitem", "detach"),
        *("chunk", "split", "tensor_split", "unbind", "diagonal", "contiguous"),
    ]
)
_LISTS = frozenset(["chunk", "split", "split_with_sizes", "tensor_split", "unbind", "topk", "sort", "meshgrid"])
_LIST_MODULES = (nn.MultiheadAttention, nn.RNNBase, nn.LSTMCell)


def lowered(graph: fx.Graph, module: nn.Module, is_taken: Callable[[str, str], bool]) -> tuple[list[Node], list[str]]:
    """Turn the calls into layers.

    Args:
        graph: What `fx_graph` or `export_graph` returned for the module; it is changed.
        module: The module.
        is_taken: Whether a key cannot be a layer's in the module of this path: `is_taken(path, key)`.

    Returns:
        The layers in the order of the calls, the last of them the output, and names of the inputs.

    Raises:
        GraphError: The module writes in place where a graph cannot follow.
    """
    _single_output(graph)
    _drop_unused(graph, module)
    _read_after_writes(graph, module)
    _drop_unused(graph, module, writes_too=True)
    namer = _Namer(is_taken)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    names = {node: "input" if len(inputs) == 1 else str(node.target) for node in inputs}
    nodes: dict[str, Node] = {}
    sizes: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if _is_size(node, sizes):
            sizes.add(node)
        operation, sources = _operation(node, module, node in sizes)
        if node.op == "get_attr":
            name = str(node.target)
        elif node.op == "call_module":
            name = namer.again(str(node.target))
            if name != node.target:
                again = Again(str(node.target))
                operation = Call(again, *operation.args, **operation.kwargs) if isinstance(operation, Call) else again
        elif _is_part(node, module):
            of, key = names[node.args[0]], str(node.args[1])
            name, operation = f"{of}.{key}", Part(key, of)
        else:
            name = namer.new(node.meta.get(SCOPE, ""), "size" if node in sizes else _function_name(node))
        names[node] = name
        nodes.setdefault(name, Node(name, operation, tuple(names[source] for source in sources)))
    return list(nodes.values()), [names[node] for node in inputs]


def _single_output(graph: fx.Graph) -> None:
    """Make the value of the last call the output: where it is none, or several, a call puts it together."""
    output = graph.output_node()
    result = output.args[0]
    if not isinstance(result, fx.Node) or result.op not in ("call_module", "call_function", "call_method"):
        with graph.inserting_before(output):
            whole = graph.call_function(structure, (result,))
        whole.meta[SCOPE] = ""
        output.args = (whole,)


def _drop_unused(graph: fx.Graph, module: nn.Module, writes_too: bool = False) -> None:
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output") and (writes_too or not _writes(node, module)):
            graph.erase_node(node)


def _writes(node: fx.Node, module: nn.Module) -> list[fx.Node]:
    """Return the values that a call is known to write into."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return []
    operation, sources = _operation(node, module, False)
    if not isinstance(operation, nn.Module):
        function = operation.function if isinstance(operation, Call) else operation
        if getattr(function, "__name__", "") in ("batch_norm", "instance_norm"):
            return []
    writes = effect_of(operation, []).writes
    return sources[:writes] if writes <= len(sources) else []  # unknown operations are trusted, as torch.fx does


def _read_after_writes(graph: fx.Graph, module: nn.Module) -> None:
    order = {node: index for index, node in enumerate(graph.nodes)}
    base: dict[fx.Node, fx.Node] = {}  # a view and what it is a view of
    for node in list(graph.nodes):
        if _function_name(node) in _VIEWS and node.all_input_nodes:
            base[node] = node.all_input_nodes[0]
        for written in _writes(node, module):
            if written.op == "get_attr":
                raise GraphError(
                    f"{_place(node)} writes in place into {written.target!r}, which a graph cannot follow: "
                    "make the submodule that does so opaque"
                )

            def later(user: fx.Node, index: int = order[node]) -> bool:
                return order[user] > index

            for relative in _relatives(written, base) - {written, node}:
                if any(map(later, relative.users)):
                    raise GraphError(
                        f"{_place(node)} writes in place into memory of {relative.name!r}, which is read later on: "
                        "make the submodule that does so opaque"
                    )
            written.replace_all_uses_with(node, delete_user_cb=later)


def _relatives(value: fx.Node, base: dict[fx.Node, fx.Node]) -> set[fx.Node]:
    """Return all views of the memory that a value is a view of."""

    def root(node: fx.Node) -> fx.Node:
        while node in base:
            node = base[node]
        return node

    return {root(value), *(view for view in base if root(view) is root(value))}


def _operation(node: fx.Node, module: nn.Module, is_size: bool) -> tuple[Any, list[fx.Node]]:
    """Return what computes a node and the nodes that are its inputs."""
    if node.op == "get_attr":
        if CONSTANT in node.meta:
            return Value.of(nn.Buffer(node.meta[CONSTANT], persistent=False)), []
        path, _, key = str(node.target).rpartition(".")
        return Value(module.get_submodule(path), key), []
    function: Any = node.target
    if node.op == "call_module":
        function = module.get_submodule(str(node.target))
    elif node.op == "call_method":
        function = Method(str(node.target))
    elif isinstance(node.target, torch._ops.OpOverload):
        function = Overload(str(node.target))
    positions: dict[fx.Node, Input] = {}
    args = [_template(arg, positions) for arg in node.args]
    kwargs = {key: _template(value, positions) for key, value in node.kwargs.items()}
    sources = list(positions)
    if not kwargs and not is_size and args == [Input(position) for position in range(len(sources))]:
        return function, sources
    return (Size if is_size else Call)(function, *args, **kwargs), sources


def _template(value: Any, positions: dict[fx.Node, Input]) -> Any:
    if isinstance(value, fx.Node):
        return positions.setdefault(value, Input(len(positions)))
    if isinstance(value, slice):
        return slice(*[_template(item, positions) for item in (value.start, value.stop, value.step)])
    if isinstance(value, dict):
        return {key: _template(item, positions) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_template(item, positions) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return items if isinstance(value, list) else tuple(items)
    return value


def _is_size(node: fx.Node, sizes: set[fx.Node]) -> bool:
    """Return whether a call gives numbers that describe tensors: it asks a tensor for them, or computes with such."""
    if node.op == "call_method" and node.target in _SIZE_METHODS:
        return True
    if node.op != "call_function":
        return False
    if node.target is getattr and node.args[1] in _SIZES:
        return True
    if str(node.target).startswith(_SIZE_OVERLOADS):
        return True
    origin = getattr(node.target, "__module__", None)
    return (
        origin in ("_operator", "builtins", "math", "torch")
        and (origin != "torch" or getattr(node.target, "__name__", "").startswith("sym_"))
        and bool(node.all_input_nodes)
        and sizes.issuperset(node.all_input_nodes)
    )


def _is_part(node: fx.Node, module: nn.Module) -> bool:
    if node.target is not operator.getitem or not isinstance(node.args[1], int | str):
        return False
    whole, key = node.args
    assert isinstance(whole, fx.Node)
    if isinstance(key, int) and key < 0:
        return False
    if isinstance(key, str):
        return key.isidentifier()
    if whole.op == "call_module":
        return isinstance(module.get_submodule(str(whole.target)), _LIST_MODULES)
    return _function_name(whole) in _LISTS and whole.op in ("call_function", "call_method")


def _function_name(node: fx.Node) -> str:
    """Return what a person calls the function: `add` for `operator.iadd`, `relu` for `F.relu_`."""
    target: Any = node.target
    if node.op in ("placeholder", "get_attr", "output", "call_module"):
        return ""
    if target is structure or (isinstance(target, type) and issubclass(target, tuple)):
        return "output"
    if target is getattr:
        return str(node.args[1])
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
    else:
        name = target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)
    if getattr(target, "__module__", None) == "_operator" and name.startswith("i") and hasattr(operator, name[1:]):
        name = name[1:]
    return {"truediv": "div"}.get(name.strip("_"), name.strip("_")) or "function"


def _place(node: fx.Node) -> str:
    scope = node.meta.get(SCOPE, "")
    what = str(node.target) if node.op == "call_module" else _function_name(node)
    return f"{what!r} in {scope!r}" if scope else repr(what)


class _Namer:
    """Hand out each name once: `add`, then `add_1`, then `add_2`."""

    def __init__(self, is_taken: Callable[[str, str], bool]) -> None:
        self._is_taken = is_taken
        self._used: set[str] = set()

    def again(self, name: str) -> str:
        """Return the name of a further use of a module, or its own for the first."""
        if name not in self._used:
            self._used.add(name)
            return name
        scope, _, key = name.rpartition(".")
        return self._first(scope, (f"{key}_{count}" for count in itertools.count(1)))

    def new(self, scope: str, key: str) -> str:
        """Return a name in a scope."""
        return self._first(scope, (f"{key}_{count}" if count else key for count in itertools.count()))

    def _first(self, scope: str, keys: Iterable[str]) -> str:
        for key in keys:
            name = f"{scope}.{key}" if scope else key
            if name not in self._used and not self._is_taken(scope, key):
                self._used.add(name)
                return name
        raise AssertionError("keys never end")
