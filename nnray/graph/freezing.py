"""Parts of a model that don't learn for a while."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from nnray.errors import GraphError
from nnray.graph.assembly import called
from nnray.graph.leaves import check_not_compiled
from nnray.graph.module import GraphModule
from nnray.graph.names import select
from nnray.graph.operations import Part

_ABSENT: Any = object()


@contextmanager
def frozen(model: nn.Module, layers: str | Iterable[str] | None = None) -> Iterator[None]:
    """Keep parameters, and the running statistics of batch (and instance) normalisation, from changing.

    Within the context the parameters don't require gradients and have none, so that optimizers pass them over, momentum
    and weight decay included, and the normalisation layers are in evaluation mode, where they stay even if `train()` is
    called on the model that they belong to. Other layers, such as dropout, keep their mode, and gradients still flow
    through everything. Afterwards all of it is exactly as before, also when an exception leaves the context.

    Example:
        >>> with frozen(stitched, ["a.*", "b.*"]):
        ...     trainer.fit(...)  # trains `via` alone

    Args:
        model: A graph, a layer of one, or any other module.
        layers: Names or globs of the layers, or nested dicts of layers, that are frozen with all that is in them; left
            out, the whole model. In a module that is no graph, names are those of `named_modules()`. A parameter that a
            frozen layer shares with another one is frozen.

    Raises:
        GraphError: A name or glob stands for no layer, a name for a part of a value, or the model is no module.
    """
    parameters, normalisations = _contents(model, layers)
    modes = {module: module.training for module in normalisations}
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in parameters]
    setters = {module: module.__dict__.get("train", _ABSENT) for module in modes}
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
        for module in modes:
            module.eval()
            module.__dict__["train"] = partial(_keep_mode, module)  # of this object: its class is not touched
        yield
    finally:
        for module, setter in setters.items():
            if setter is _ABSENT:
                module.__dict__.pop("train", None)
            else:
                module.__dict__["train"] = setter
            module.training = modes[module]
        for parameter, requires_grad, grad in before:
            parameter.requires_grad_(requires_grad)
            parameter.grad = None if grad is None else grad.to(parameter)  # the model may have moved to a GPU


def _contents(
    model: nn.Module, layers: str | Iterable[str] | None
) -> tuple[Iterable[nn.Parameter], Iterable[nn.Module]]:
    """Return the parameters and the normalisation layers of what is to be frozen, each once."""
    if not isinstance(model, nn.Module):
        raise GraphError(f"only a module can be frozen, or layers of one by their names, not {model!r}")
    if layers is not None:
        check_not_compiled(model)
    modules = [model]
    parameters: list[nn.Parameter] = []
    if layers is not None:
        by_path = dict(model.named_modules(remove_duplicate=False))
        by_name = dict(model.named_parameters(remove_duplicate=False))
        operations = {node.name: called(node) for node in model._nodes} if isinstance(model, GraphModule) else {}
        names = [
            name
            for name in dict.fromkeys([*operations, *by_path, *by_name])
            if name and not isinstance(operations.get(name), Part)
        ]
        listed = list(layers) if isinstance(layers, Iterable) and not isinstance(layers, str) else layers
        for name in listed if isinstance(listed, list) else [listed]:
            _check_no_part(name, names, operations)
        chosen = select(listed, names, ())
        found = [by_path.get(name, operations.get(name)) for name in chosen]  # a further use has no path
        modules = [each for each in found if isinstance(each, nn.Module)]
        parameters = [by_name[name] for name in chosen if name in by_name]
    parameters += [parameter for module in modules for parameter in module.parameters()]
    inner = [child for module in modules for child in module.modules() if isinstance(child, _NormBase)]
    return dict.fromkeys(parameters), dict.fromkeys(inner)


def _check_no_part(name: Any, names: Collection[str], operations: Container[str]) -> None:
    owner, _, key = str(name).rpartition(".")
    if name not in names and owner in operations and (key.isdecimal() or name in operations):
        raise GraphError(f"{name!r} is a part of the value of {owner!r}, without parameters: freeze {owner!r}")


def _keep_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
