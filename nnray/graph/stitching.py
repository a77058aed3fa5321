"""Networks made of the first layers of one and the last layers of another."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._pytree import tree_map_only

from nnray.errors import GraphError
from nnray.graph.architecture import Node, Operation
from nnray.graph.assembly import assemble, with_names
from nnray.graph.module import GraphModule, check_graph
from nnray.graph.names import check_name
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
    example: Any = None,
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
        example: An input of both networks, of which only the shape and type matter, or a tuple or dict of several.
            Needed to build the stitching layer; nothing is computed.
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
    check_name(layer_a, a._names, ())
    check_name(layer_b, b._names, b._inputs)
    front, back = submodel(a, None, layer_a), submodel(b, layer_b)
    if via is None:
        if example is None:
            raise GraphError("to build a stitching layer an example of the networks' input is needed (or give via)")
        via = _fitting(_value(a, layer_a, example), layer_a, _value(b, layer_b, example), layer_b)
    nodes = [
        *with_names(front._nodes, lambda name: name if name in front._inputs else f"a.{name}"),
        Node("via", via, (f"a.{layer_a}",)),
        *with_names(back._nodes, lambda name: "via" if name == layer_b else f"b.{name}"),
    ]
    outputs = [f"b.{name}" for name in back._outputs]
    return assemble([front, back], nodes, front._inputs, outputs, copy)


def _value(model: GraphModule, layer: str, example: Any) -> Any:
    """Return a fake tensor with the shape, type and device of a layer's value. Nothing is computed, or changed."""
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        twin = deepcopy(model)  # all of the model but its weights; a run of the model itself would count batches
    with mode, torch.no_grad():
        arguments = tree_map_only(Tensor, mode.from_tensor, example)
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        return twin.eval()(*arguments, outputs=layer)[layer]


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
