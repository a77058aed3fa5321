"""From a module to the calls that it makes, by running it on fake tensors with torch.export.

torch.export follows code that torch.fx cannot, such as conditions on shapes and `**kwargs`, and records operators of
PyTorch's dispatcher, each with the modules that it was called in. Here the operators of one call of a leaf become that
call again, so that the leaf is a layer which follows `train()`, `eval()` and surgery.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from nnray.errors import GraphError
from nnray.graph.fx_tracing import CONSTANT, SCOPE, reason
from nnray.graph.leaves import Leaves
from nnray.graph.quiet import errors_said_once


class _LeafCall(NamedTuple):
    """How a leaf was called and what it returned, with its tensors."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Recorder:
    """Watch a module run: where it is, and how its leaves are called."""

    def __init__(self) -> None:
        self.scopes: list[tuple[str, nn.Module]] = []
        self.calls: dict[str, list[_LeafCall]] = {}

    @contextmanager
    def watching(self, module: nn.Module, leaves: Leaves) -> Iterator[None]:
        """Have hooks on all submodules, for a while."""
        handles = []
        for name, child in module.named_modules():

            def enter(child: nn.Module, args: Any, name: str = name) -> None:
                self.scopes.append((name, child))

            def leave(child: nn.Module, args: Any, kwargs: Any, result: Any, name: str = name) -> None:
                self.scopes.pop()
                if (name, child) in leaves:
                    self.calls.setdefault(name, []).append(_LeafCall(args, kwargs, result))

            handles.append(child.register_forward_pre_hook(enter))
            handles.append(child.register_forward_hook(leave, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def export_graph(
    module: nn.Module, leaves: Leaves, inputs: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> fx.Graph:
    """Trace a module by an example.

    Args:
        module: The module, which is left unchanged.
        leaves: Its submodules that are one call each.
        inputs: Names of the arguments in the example.
        args: Positional arguments of the example.
        kwargs: Keyword arguments of the example.

    Returns:
        A graph in the form that `nnray.graph.fx_tracing.fx_graph` returns. It holds for inputs of other sizes as far as
        the module's code takes the same path for them; sizes of 1 in the example stay 1.

    Raises:
        GraphError: The module cannot be traced; the message names the submodule and the line.
    """
    for name, value in zip(inputs, (*args, *kwargs.values()), strict=True):
        if not isinstance(value, Tensor):
            raise GraphError(f"the example's {name!r} must be a tensor, not a {type(value).__name__}")
    recorder = _Recorder()
    dynamic = {
        name: dict.fromkeys(range(value.ndim), Dim.AUTO)
        for name, value in zip(inputs, (*args, *kwargs.values()), strict=True)
    }
    with recorder.watching(module, leaves):
        try:
            with errors_said_once():
                program = export(module, args, kwargs, dynamic_shapes=dynamic, strict=False)
        except Exception as error:
            raise GraphError(f"{reason(error, recorder.scopes, module)} (torch.export)") from error
    _inline_no_grad(program)
    _views_as_reshapes(program.graph)
    return _Translation(program, module, leaves, inputs, recorder.calls).graph


def _inline_no_grad(program: ExportedProgram) -> None:
    """Put what runs under `torch.no_grad()`, which torch.export sets apart, in its place, with detached results."""
    graph = program.graph
    regions = torch.ops.higher_order.wrap_with_set_grad_enabled
    while (region := next((node for node in graph.nodes if node.target is regions), None)) is not None:
        enabled, body, *operands = region.args
        assert isinstance(body, fx.Node)
        inner = getattr(program.graph_module, str(body.target)).graph
        new = dict(zip(inner.find_nodes(op="placeholder"), operands, strict=True))
        with graph.inserting_before(region):
            for node in inner.nodes:
                if node.op not in ("placeholder", "output"):
                    new[node] = graph.node_copy(node, new.__getitem__)
            for item in list(region.users):  # the region returns a tuple
                value = new[inner.output_node().args[0][item.args[1]]]
                if not enabled and isinstance(value.meta.get("val"), Tensor):
                    value = graph.call_function(torch.ops.aten.detach.default, (value,))
                    value.meta = {"val": item.meta["val"], "nn_module_stack": region.meta.get("nn_module_stack", {})}
                item.replace_all_uses_with(value)
                graph.erase_node(item)
        graph.erase_node(region)
        if not body.users:
            graph.erase_node(body)


def _views_as_reshapes(graph: fx.Graph) -> None:
    """Let `x.view(...)` and `x.contiguous().view(...)` be `x.reshape(...)`, which gives the same values.

    How values lie in memory depends on the mode where attention has another kernel for dropout, and `contiguous` is
    recorded only where it does something; with `reshape` the graph of one mode is right in both.
    """
    reshape = torch.ops.aten.reshape.default
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.view.default):
        node.target = reshape
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.contiguous.default):
        if not node.kwargs and all(user.target is reshape for user in node.users):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


class _Translation:
    """From the flat program of torch.export to calls of leaves and functions."""

    def __init__(
        self,
        program: ExportedProgram,
        module: nn.Module,
        leaves: Leaves,
        inputs: tuple[str, ...],
        calls: dict[str, list[_LeafCall]],
    ) -> None:
        self.graph = fx.Graph()
        self._module = module
        self._leaves = leaves
        self._calls = calls
        self._new: dict[fx.Node, fx.Node] = {}
        nodes = list(program.graph.nodes)
        self._placeholders(program, [node for node in nodes if node.op == "placeholder"], inputs)
        groups: dict[tuple[str, str], list[fx.Node]] = {}
        group_of: dict[fx.Node, tuple[str, str]] = {}
        for node in nodes:
            leaf = self._leaf(node)
            if leaf is not None:
                groups.setdefault(leaf, []).append(node)
                group_of[node] = leaf
        collapsed = {leaf: call for leaf, group in groups.items() if (call := self._as_call(leaf, group)) is not None}
        for node in nodes:
            if node.op in ("placeholder", "output"):
                continue
            leaf = group_of.get(node)
            if leaf in collapsed:
                if node is groups[leaf][-1]:
                    self._call_leaf(leaf[0], *collapsed[leaf])
            else:
                self._copy(node)
        self._output(program, nodes[-1])

    def _placeholders(self, program: ExportedProgram, nodes: list[fx.Node], inputs: tuple[str, ...]) -> None:
        names = iter(inputs)
        for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                self._new[node] = self.graph.placeholder(next(names))
        for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                continue
            self._new[node] = self.graph.create_node("get_attr", str(spec.target))
            if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER):
                self._new[node].meta[CONSTANT] = program.constants[str(spec.target)]

    def _leaf(self, node: fx.Node) -> tuple[str, str] | None:
        """Return path and call of the outermost leaf that a node is in."""
        if "val" not in node.meta or node.op != "call_function":
            return None
        for call, (path, _) in node.meta.get("nn_module_stack", {}).items():
            path = path.partition("@")[0]
            if path in self._calls and (path, self._module.get_submodule(path)) in self._leaves:
                return path, call
        return None

    def _as_call(
        self, leaf: tuple[str, str], group: list[fx.Node]
    ) -> tuple[tuple[Any, ...], dict[str, Any], int | str | None, fx.Node] | None:
        """Return arguments of a leaf's call, the key of its result and the node of that; None if that is not clear."""
        path, call = leaf
        count = int(call.partition("@")[2] or 0)
        recorded = self._calls[path]
        sources = {
            source
            for node in group
            for source in node.all_input_nodes
            if source not in group
            and isinstance(source.meta.get("val"), Tensor)
            and self._new.get(source, source).op != "get_attr"
        }
        results = [node for node in group if any(user not in group for user in node.users)]
        tensors = {id(leaf) for leaf in pytree.tree_leaves((recorded[0].args, recorded[0].kwargs)) if _is_tensor(leaf)}
        if count >= len(recorded) or len(sources) != 1 or len(results) != 1 or len(tensors) != 1:
            return None
        (source,) = sources
        args, kwargs = pytree.tree_map(
            lambda value: source if _is_tensor(value) else value, (recorded[count].args, recorded[count].kwargs)
        )
        result = recorded[count].result
        key: int | str | None = None
        if not _is_tensor(result):
            items = result.items() if isinstance(result, dict) else enumerate(result)
            keys = [key for key, value in items if _is_tensor(value)]
            if len(keys) != 1:
                return None
            key = keys[0]
        return args, kwargs, key, results[0]

    def _call_leaf(
        self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any], key: int | str | None, result: fx.Node
    ) -> None:
        args, kwargs = fx.map_arg((args, kwargs), self._new.__getitem__)
        node = self.graph.call_module(path, args, kwargs)
        node.meta[SCOPE] = path.rpartition(".")[0]
        if key is not None:
            whole, node = node, self.graph.call_function(operator.getitem, (node, key))
            node.meta[SCOPE] = whole.meta[SCOPE]
        self._new[result] = node

    def _copy(self, node: fx.Node) -> None:
        if node.op != "call_function" or isinstance(node.target, torch._ops.HigherOrderOperator):
            raise GraphError(f"cannot make a layer of {node.target} in {self._scope(node)!r}: make that opaque")
        self._new[node] = self.graph.node_copy(node, self._new.__getitem__)
        self._new[node].meta[SCOPE] = self._scope(node)

    def _scope(self, node: fx.Node) -> str:
        paths = [path.partition("@")[0] for path, _ in node.meta.get("nn_module_stack", {}).values()]
        known = [path for path in paths if not path.startswith("_empty")]
        return known[-1] if known else ""

    def _output(self, program: ExportedProgram, node: fx.Node) -> None:
        specs = program.graph_signature.output_specs
        leaves = [
            self._new[value] if isinstance(value, fx.Node) else value
            for value, spec in zip(node.args[0], specs, strict=True)  # type: ignore[arg-type]
            if spec.kind is OutputKind.USER_OUTPUT
        ]
        spec = program.call_spec.out_spec
        assert spec is not None
        result = pytree.tree_unflatten(leaves, spec)
        self.graph.output(dict(result) if isinstance(result, dict) else result)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
