"""Networks made of the first layers of one and the last layers of another."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from nnray.errors import GraphError
from nnray.graph.architecture import Node, Operation
from nnray.graph.assembly import assemble, with_names
from nnray.graph.layer_table import Example, fake_inputs
from nnray.graph.lookup import add_parts
from nnray.graph.module import GraphModule, check_graph
from nnray.graph.names import check_name
from nnray.graph.quiet import errors_said_once
from nnray.graph.surgery import submodel

_CONVOLUTIONS: dict[int, Any] = {4: nn.Conv2d, 5: nn.Conv3d}
_INTERPOLATIONS = {4: "bilinear", 5: "trilinear"}


def stitch(
    a: GraphModule,
    layer_a: str,
    b: GraphModule,
    layer_b: str,
    via: Operation | None = None,
    *,
    example: Example | tuple[Tensor, ...] | None = None,
    copy: bool = False,
) -> GraphModule:
    """Run `a` up to `layer_a`, then the stitching layer, and `b` with its result in place of the value of `layer_b`.

    Example:
        >>> stitched = stitch(a, "stage2.block0.relu", b, "stage2.block0.relu", example=images[:1])
        >>> with frozen(stitched, ["a.*", "b.*"]):
        ...     ...  # train the layer `via`

    Args:
        a: The network that sees the input.
        layer_a: The layer of `a` whose value is passed on.
        b: The network whose outputs are the result's; it may be `a` itself.
        layer_b: The layer of `b` (or its input) that gets the stitching layer's value in place of its own. No shortcut
            may pass by it.
        via: The stitching layer, a module or function of one argument. Left out, it is built from the shapes of the two
            layers: between images of channels x height x width (or volumes) a 1x1 convolution, after bilinear
            (trilinear) interpolation where their sizes differ; between vectors, or sequences of equally many tokens, a
            linear layer. It has random values, on the device and of the type of `layer_b`'s.
        example: An input of both networks, to build the stitching layer from: the shape of one example, such as
            `(3, 32, 32)`, a tensor, which is a batch, or a dict from the names of inputs to those (or a tuple of
            tensors). Left out, it is the attribute `example_shape` of each network, which the models of `nnray.models`
            have. Nothing is computed.
        copy: Whether the result has parameters of its own.

    Returns:
        A graph of the layers `a.*`, `via` and `b.*`, sharing the parameters of both networks.

    Raises:
        GraphError: A network is no graph, there is no such layer, a shortcut passes by `layer_b`, or the stitching
            layer cannot be built.

    References:
        Lenc, Vedaldi: Understanding image representations by measuring their equivariance and equivalence, 2015.
        https://arxiv.org/abs/1411.5908
        Csiszárik, Kőrösi-Szabó, Matszangosz, Papp, Varga: Similarity and Matching of Neural Network Representations,
        2021. https://arxiv.org/abs/2110.14633
    """
    check_graph(a, "the first network")
    check_graph(b, "the second network")
    for model, layer, inputs in ((a, layer_a, ()), (b, layer_b, b._inputs)):
        layers = {node.name: node for node in model._nodes}
        add_parts(model, layers, layer)
        check_name(layer, tuple(layers), inputs)
    front, back = submodel(a, None, layer_a), submodel(b, layer_b)
    if via is None:
        via = _fitting(_value(a, layer_a, example), layer_a, _value(b, layer_b, example), layer_b)
    nodes = [
        *with_names(front._nodes, lambda name: name if name in front._inputs else f"a.{name}"),
        Node("via", via, (f"a.{layer_a}",)),
        *with_names(back._nodes, lambda name: "via" if name == layer_b else f"b.{name}"),
    ]
    outputs = [f"b.{name}" for name in back._outputs]
    return assemble([front, back], nodes, front._inputs, outputs, copy)


def _value(model: GraphModule, layer: str, example: Example | tuple[Tensor, ...] | None) -> Any:
    """Return a fake tensor with the shape, type and device of a layer's value. Nothing is computed, or changed."""
    if example is None:
        example = getattr(model, "example_shape", None)
    if example is None:
        raise GraphError("to build a stitching layer an example of the networks' input is needed (or give via)")
    given: Any = example
    if isinstance(example, tuple) and any(isinstance(item, Tensor) for item in example):
        if len(example) != len(model._inputs):
            raise GraphError(f"the example has {len(example)} inputs, but a network has {len(model._inputs)}")
        given = dict(zip(model._inputs, example, strict=True))
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        twin = deepcopy(model)  # all of the model but its weights; a run of the model itself would count batches
    try:
        with mode, torch.no_grad(), errors_said_once():
            return twin.eval()(fake_inputs(twin, given, mode), outputs=layer)[layer]
    except GraphError:
        raise
    except Exception as error:
        reason = " ".join([str(error), *getattr(error, "__notes__", ())])
        raise GraphError(f"the example does not fit the network of {layer!r}: {reason}") from error


def _fitting(value_a: Any, layer_a: str, value_b: Any, layer_b: str) -> nn.Module:
    """Return a new layer that turns values of the one shape into values of the other."""
    shapes = []
    for value, layer in ((value_a, layer_a), (value_b, layer_b)):
        if not isinstance(value, Tensor):
            raise GraphError(f"no stitching layer fits {layer!r}, a {type(value).__name__}: give via")
        shapes.append(tuple(value.shape))
    old, new = shapes
    options = {"dtype": value_b.dtype, "device": value_b.device}
    if len(old) == len(new) and len(new) in (2, 3) and old[1:-1] == new[1:-1]:
        return nn.Linear(old[-1], new[-1], **options)
    if len(old) == len(new) and len(new) in _CONVOLUTIONS:
        convolution = _CONVOLUTIONS[len(new)](old[1], new[1], 1, **options)
        if old[2:] == new[2:]:
            return convolution
        resize = nn.Upsample(size=new[2:], mode=_INTERPOLATIONS[len(new)])
        return nn.Sequential(OrderedDict(resize=resize, conv=convolution))
    raise GraphError(
        f"no stitching layer leads from {layer_a!r}, examples x {_shape(old)}, "
        f"to {layer_b!r}, examples x {_shape(new)}: give via"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[1:]))
