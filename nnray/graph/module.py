"""Models whose every layer has a name: any layer can be an output, and any layer can be an input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import deltas, drawing, fusion, inplace, layer_table, surgery
from nnray.graph.architecture import GLOB_CHARACTERS, Node, Operation, parse, parts_on_the_way
from nnray.graph.effects import Fact, pure
from nnray.graph.names import check_name, select
from nnray.graph.operations import Again, Call, Part, Size, Value
from nnray.graph.ordering import ordered
from nnray.graph.plan import Plan, needed

_MOST_PLANS = 256  # requests that are remembered; far more than a study needs, far less than would matter in memory


class Scope(nn.Module):
    """The layers of a nested dict, so that `model.stage1.conv` and `stage1.conv` in `state_dict()` are one thing."""

    def forward(self, *inputs: Any) -> Any:
        """Refuse: the layers are run by the `GraphModule` that they belong to."""
        raise GraphError("a nested dict of layers cannot be called by itself: ask the model for its layers as outputs")


@pure
class GraphModule(nn.Module):
    """A network that is declared as a graph of named layers.

    The architecture is a nested dict. A key is a layer's name; a value is

    - an operation: an `nn.Module`, or any function of tensors, or
    - `(operation, inputs)`, or
    - a nested dict of layers.

    `inputs` is a name, a position or a list of them, which become the operation's arguments in this order. A name is
    looked up in the enclosing dict first, then further out, among the layers declared before. A position counts back
    from the layer: -1 is the layer before, across the borders of nested dicts; before the first layer comes the model's
    (first) input. Left out, the input is the layer before.

    Example:
        >>> block = {
        ...     "conv": nn.Conv2d(8, 8, 3, padding=1),
        ...     "norm": nn.BatchNorm2d(8),
        ...     "add": (operator.add, ["norm", "stem"]),
        ...     "relu": nn.ReLU(),
        ... }
        >>> model = GraphModule({"stem": nn.Conv2d(3, 8, 3, padding=1), "block": block})
        >>> model(x)                                  # the value of the last layer
        >>> model(x, outputs="block.*")               # {"block.conv": ..., "block.norm": ..., ...}
        >>> model({"block.norm": h, "stem": s})       # from given hidden values on

    A layer's full name is its dotted path, such as `block.conv`. It is an attribute of the model, and where the
    operation is a module also the prefix of its entries in `state_dict()`. A module that is declared under two names is
    two layers with one set of weights, which `parameters()` lists once and `state_dict()` under both names, as always
    in PyTorch.

    The value of a name is what its operation returned: in-place operations never change it, nor what the caller handed
    in. (They get copies where somebody could see the change, and write in place elsewhere: `nnray.graph.plan` has the
    rules.) A function that is not torch's own is taken to write in place unless it is declared with `nnray.graph.pure`,
    at the price of a copy where its input is used elsewhere too. An operation that hands out its own state, such as a
    parameter, must not have it overwritten by the next.

    In all other respects it is an ordinary module. `copy.deepcopy`, `pickle` (if its functions can be pickled),
    `torch.compile` and `torch.func` work, a layer may be replaced by assignment, and it can be a layer of another
    graph.

    Args:
        architecture: The nested dict.
        inputs: Names of the model's inputs.

    Raises:
        GraphError: The architecture is not a valid graph; the message names the layer.
    """

    def __init__(self, architecture: Mapping[str, Any], *, inputs: tuple[str, ...] = ("input",)) -> None:
        super().__init__()
        nodes = parse(architecture, inputs)
        self._build(nodes, tuple(inputs), (nodes[-1].name,))

    @staticmethod
    def from_nodes(
        nodes: Iterable[Node],
        *,
        inputs: Sequence[str] = ("input",),
        outputs: Sequence[str] | None = None,
        training: bool = True,
    ) -> GraphModule:
        """Make a graph of a flat list of layers, such as the `nodes` of other graphs.

        Args:
            nodes: The layers, with full names, in any order: they are sorted where one comes before its inputs.
            inputs: Names of the model's inputs; unlike those of an architecture, they may have dots.
            outputs: Names of the layers that are the model's outputs. Left out, it is the last one of the list.
            training: Mode of the graph itself; its operations keep theirs.

        Returns:
            A graph of the very operations of the list.

        Raises:
            GraphError: The list has no layers or a cycle, a name is not allowed or there twice, an input or output is
                unknown, or an output is also an input.
        """
        listed = list(nodes)
        if outputs is None:
            outputs = [node.name for node in listed[-1:]]
        model = GraphModule.__new__(GraphModule)
        nn.Module.__init__(model)
        model.training = training
        model._build(ordered(listed, inputs, outputs), tuple(inputs), tuple(outputs))
        return model

    def _build(self, nodes: Sequence[Node], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._sources = {node.name: node.inputs for node in nodes}
        self._calls: dict[str, Call] = {}  # how modules are called where it is not just with the inputs
        self._plans: dict[Any, Plan] = {}
        self._plans_of: dict[str, Any] = self._modules
        for node in nodes:
            self._declare(node)

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of all layers, in graph order."""
        return tuple(self._sources)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order of its positional arguments."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the layers that are the model's output: the last one, unless surgery has chosen others."""
        return self._outputs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All layers, in graph order, with their present operations and the full names of their inputs."""
        return tuple(self._table([]).values())

    def forward(self, *values: Any, outputs: str | Iterable[str] | None = None) -> Any:
        """Compute the model's output, or any of its layers, from its inputs, or from any of its layers.

        Args:
            values: The model's inputs, in the order of their declaration, or one dict from names (of inputs or of
                layers) to values. A layer that is given is not computed, even if the inputs are given too. Only inputs
                that are needed must be given.
            outputs: A name, a glob (`*` stands for any characters, dots included) or a list of them. An input of the
                model can be asked for by its name.

        Returns:
            The value of the last layer, or of the one that surgery made the output; where surgery left several
            outputs, a dict from their names to their values. If `outputs` is given, a dict from names to values, in the
            order of the list, and within a glob in graph order. Only the layers that this takes are computed, and a
            value is dropped as soon as no layer needs it any more.

        Raises:
            GraphError: A name is unknown, or an input is missing.
        """
        given: Any
        if len(values) == 1 and isinstance(values[0], dict):
            given = tuple(values[0])
            initial = list(values[0].values())
        else:
            given = len(values)
            initial = list(values)
        if outputs is not None and not isinstance(outputs, str) and isinstance(outputs, Iterable):
            outputs = tuple(outputs)
        request = (given, outputs, torch.is_grad_enabled())
        if self._plans_of is not self._modules:  # a replica, as `nn.DataParallel` makes them, has modules of its own
            self._plans, self._plans_of = {}, self._modules
        plan = self._plans.get(request)
        if plan is None or not plan.is_valid():
            if plan is not None or len(self._plans) >= _MOST_PLANS:
                self._plans.clear()  # where one plan has become invalid, the others have too
            plan = self._plan(*request)
            self._plans[request] = plan
        computed = plan.run(initial)
        if outputs is None and len(plan.results) == 1:
            return computed[plan.results[0][1]]
        return {name: computed[slot] for name, slot in plan.results}

    submodel = surgery.submodel
    insert = surgery.insert
    replace = surgery.replace
    rename = surgery.rename
    prune = surgery.prune
    fuse_conv_bn = fusion.fuse_conv_bn
    to_inplace_free = inplace.to_inplace_free
    delta_state_dict = deltas.delta_state_dict
    load_delta_state_dict = deltas.load_delta_state_dict
    layers = layer_table.layers
    draw = drawing.draw
    _repr_mimebundle_ = drawing.mimebundle

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the plans, which refer to this very object's modules."""
        return {**self.__dict__, "_plans": {}}

    def _plan(self, given: tuple[str, ...] | int, outputs: str | tuple[str, ...] | None, grad: bool) -> Plan:
        if isinstance(given, int):
            if given > len(self._inputs):
                expected = "1 input" if len(self._inputs) == 1 else f"{len(self._inputs)} inputs"
                listed = ", ".join(map(repr, self._inputs))
                raise GraphError(f"the model takes {expected} ({listed}), but {given} were given")
            given = self._inputs[:given]
        facts: list[Fact] = []
        table = self._table(facts)
        for name in (*given, *(outputs if isinstance(outputs, tuple) else (outputs,))):
            if isinstance(name, str) and GLOB_CHARACTERS.isdisjoint(name):
                parts = parts_on_the_way(name, {*self._inputs, *table})
                table.update((part.name, part) for part in parts)
        for name in given:
            check_name(name, tuple(table), self._inputs)
        if outputs is None:
            wanted = self._outputs
        else:
            layers = [name for name, node in table.items() if not isinstance(node.operation, Size | Value)]
            wanted = select(outputs, layers, (*self._inputs, *(table.keys() - layers)))
        nodes = needed(table, self._inputs, given, wanted)
        return Plan(nodes, given, wanted, grad, facts)

    def _declare(self, node: Node) -> None:
        operation = node.operation
        *scopes, key = node.name.split(".")
        if isinstance(operation, Part) and ".".join(scopes) == node.inputs[0]:
            return  # its name says it all
        if isinstance(operation, Call) and isinstance(operation.function, nn.Module):
            # The module is the attribute, so that its parameters have the layer's name.
            self._calls[node.name] = type(operation)(None, *operation.args, **operation.kwargs)
            operation = operation.function
        scope: nn.Module = self
        for depth, name in enumerate(scopes, start=1):
            child = scope._modules.get(name)
            if not isinstance(child, Scope):
                _check_attribute(scope, name, f"the nested dict {'.'.join(scopes[:depth])!r}")
                child = Scope()
                child.training = self.training
                scope.add_module(name, child)
            scope = child
        _check_attribute(scope, key, f"the layer {node.name!r}")
        if isinstance(operation, Value):
            operation.register(scope, key)
        else:
            setattr(scope, key, operation)

    def _table(self, facts: list[Fact]) -> dict[str, Node]:
        """Look up the operations where they live: in the attributes, which anybody may assign to."""
        scopes: dict[str, nn.Module] = {"": self}

        def operation_of(name: str) -> Operation:
            *parents, key = name.split(".")
            block = ".".join(parents)
            if block in self._sources or block in self._inputs:
                return Part(key, block)
            path = ""
            for parent in parents:
                outer, path = scopes[path], f"{path}.{parent}" if path else parent
                if path not in scopes:
                    scopes[path] = _attribute(outer, parent, f"the nested dict {path!r}", facts)
            scope = scopes[path]
            if key in scope._parameters or key in scope._buffers:
                return Value(scope, key)
            operation = _attribute(scope, key, f"the layer {name!r}", facts)
            if isinstance(operation, Again):
                operation = operation_of(operation.of)
            call = self._calls.get(name)
            return operation if call is None else type(call)(operation, *call.args, **call.kwargs)

        return {name: Node(name, operation_of(name), sources) for name, sources in self._sources.items()}


def _attribute(scope: nn.Module, key: str, what: str, facts: list[Fact]) -> Any:
    mapping = scope._modules if key in scope._modules else scope.__dict__
    value = mapping.get(key)
    if value is None:
        raise GraphError(f"{what} has been removed from the model")
    facts.append((mapping, key, value))
    return value


def _check_attribute(scope: nn.Module, key: str, what: str) -> None:
    if hasattr(type(scope), key) or key in scope.__dict__ or key in scope._modules:
        raise GraphError(f"{what} must have another name: {key!r} is already an attribute of {type(scope).__name__}")
