"""Models whose every layer has a name: any layer can be an output, and any layer can be an input."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from nnray.errors import GraphError
from nnray.graph import deltas, drawing, fusion, inplace, layer_table, surgery
from nnray.graph.architecture import Node, parse
from nnray.graph.assembly import called
from nnray.graph.effects import pure
from nnray.graph.leaves import Opaque, check_not_compiled
from nnray.graph.lookup import declare_layer, present_layers, structure_of
from nnray.graph.operations import Again, Call, Value
from nnray.graph.ordering import ordered
from nnray.graph.plan import Plan
from nnray.graph.requests import Request, planned
from nnray.graph.scope import check_name_of_attribute, mirror, yields_to_modules
from nnray.graph.tracing import Example, trace

_MOST_PLANS = 256  # requests that are remembered; far more than a study needs, far less than would matter in memory


@pure
@yields_to_modules
class GraphModule(nn.Module):
    """A network that is declared as a graph of named layers.

    The architecture is a nested dict. A key is a layer's name; a value is

    - an operation: an `nn.Module`, any function of tensors, or an `nn.Parameter` or `nn.Buffer` as the value of a layer
      without inputs, or
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

    Where a layer returns a tuple or a dict, its parts have names too: `lstm.0`, `lstm.1.0`, `split.left`. They can be
    inputs, outputs and given values like layers. Globs stand for layers and for the parts that a layer reads, but not
    for parameters, buffers and, in traced models, sizes.

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

    _only_mode: bool | None = None  # the mode that a traced model is bound to

    def __init__(self, architecture: Mapping[str, Any], *, inputs: tuple[str, ...] = ("input",)) -> None:
        super().__init__()
        nodes = parse(architecture, inputs)
        for key, value in architecture.items():
            kind = "nested dict" if isinstance(value, Mapping) else "layer"
            check_name_of_attribute(self, key, f"the {kind} {key!r}")
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
        for node in listed:
            if not isinstance(node, Node):
                raise GraphError(f"a graph is made of a list of Nodes, such as the nodes of another, not of {node!r}")
        if outputs is None:
            outputs = [node.name for node in listed[-1:]]
        model = GraphModule.__new__(GraphModule)
        nn.Module.__init__(model)
        model.training = training
        model._build(ordered(listed, inputs, outputs), tuple(inputs), tuple(outputs))
        return model

    @staticmethod
    def trace(
        module: nn.Module, example: Example = None, *, opaque: str | Iterable[Opaque] = (), copy: bool = False
    ) -> GraphModule:
        """Make a graph of any module that torch.fx or torch.export can trace, such as torchvision's and timm's models.

        A layer has the name that its module has in `named_modules()`, with `_1`, `_2`, ... for further uses. A function
        is named after the module that calls it: `layer1.0.add`, `flatten`. Parameters that the code reads itself are
        values under their own names, and so are numbers such as heights (`size`, `size_1`, ...); globs stand for
        neither. What `x += y` or `ReLU(inplace=True)` has overwritten is read under the name of the layer that did so.

        The graph has the state-dict keys of the module, in their order. Its layers are the modules themselves, so they
        follow `train()` and `eval()`, and so does functional dropout. Where the code does something else in training
        mode than in evaluation mode beyond that, the graph is that of the module's present mode and refuses the other.

        Args:
            module: The module, which is left unchanged.
            example: Its inputs for one call: a tensor, a tuple of positional or a dict of keyword arguments. Given, a
                module that torch.fx cannot trace is traced by torch.export.
            opaque: What to take as one layer, without looking inside: names and globs of submodules, classes of
                modules, functions. PyTorch's own modules, batch normalisations and modules without submodules always
                are.
            copy: Whether the graph has parameters of its own; otherwise it shares them with the module.

        Returns:
            The graph. Its input is called `input`; several are called as in the module's `forward`. Arguments that
            have a default and are not in the example keep it. Of a graph, it is that graph itself.

        Raises:
            GraphError: The module cannot be traced; the message names the submodule and the line.
        """
        if isinstance(module, GraphModule):
            return copying.deepcopy(module) if copy else module
        traced = trace(copying.deepcopy(module) if copy else module, example, opaque, vars(GraphModule))
        model = GraphModule.__new__(GraphModule)
        nn.Module.__init__(model)
        mirror(traced.module, model, traced.scopes)
        model._build(traced.nodes, traced.inputs, (traced.nodes[-1].name,))
        model._only_mode = traced.only_mode
        return model

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, as `nn.Module.train` does.

        Raises:
            GraphError: The model was traced and computes something else in that mode.
        """
        if self._only_mode is not None and mode != self._only_mode:
            present, other = ("training", "eval") if self._only_mode else ("evaluation", "train")
            raise GraphError(
                f"the model was traced in {present} mode and its code does something else in the other: "
                f"trace the module again after module.{other}()"
            )
        return super().train(mode)

    def _build(self, nodes: Sequence[Node], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._sources = {node.name: node.inputs for node in nodes}
        self._calls: dict[str, Call] = {}  # how modules are called where it is not just with the inputs
        self._repeats = frozenset(node.name for node in nodes if isinstance(called(node), Again))
        self._plans: dict[Any, Plan] = {}
        self._plans_of: dict[str, Any] = self._modules
        self._structure = structure_of(nodes, inputs, outputs)
        for node in sorted(nodes, key=lambda node: isinstance(node.operation, Value)):  # parameters may be a layer's
            declare_layer(self, node)

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of all layers, in graph order."""
        return self._names

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
        return self._nodes

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
        if torch.compiler.is_dynamo_compiling():
            from nnray.graph.compiling import run_traced  # takes a second to import, with all of Dynamo

            found = run_traced(self, request, initial)
            return found[self._outputs[0]] if outputs is None and len(self._outputs) == 1 else found
        if self._plans_of is not self._modules:  # a replica, as `nn.DataParallel` makes them, has modules of its own
            self._plans, self._plans_of = {}, self._modules
        plan = self._plans.get(request)
        if plan is None or not plan.is_valid():
            if plan is not None or len(self._plans) >= _MOST_PLANS:
                self._plans.clear()  # where one plan has become invalid, the others have too
            plan = planned(self, request)
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
        """Leave out the plans, which refer to this very object's modules, and what PyTorch leaves out."""
        return {**super().__getstate__(), "_plans": {}}

    # Under names that no submodule has: those of the properties may be submodules' in a traced model.

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._sources)

    @property
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(present_layers(self, []).values())

    def _plan_as_constants(self, structure: str, request: Request) -> tuple[Any, ...]:
        """Plan for `nnray.graph.compiling`; Dynamo calls it when it compiles, and again for any other structure."""
        from nnray.graph.compiling import plan_as_constants

        return plan_as_constants(self, request)


def check_graph(model: Any, what: str) -> None:
    """Raise a GraphError unless a model is a graph; `what` says which model it is."""
    if not isinstance(model, GraphModule):
        hint = ": GraphModule.trace makes one of it" if isinstance(model, nn.Module) else ""
        if isinstance(model, nn.Module):
            check_not_compiled(model)
        raise GraphError(f"{what} must be a GraphModule, not a {type(model).__name__}{hint}")
