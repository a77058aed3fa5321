"""Where layers live: the modules that stand for nested dicts, and whose attributes the layers are."""

from __future__ import annotations

from collections.abc import Collection
from types import MethodType
from typing import Any, TypeVar

from torch import nn

from nnray.errors import GraphError
from nnray.graph.effects import Fact
from nnray.graph.operations import Operation, Value

ModuleClass = TypeVar("ModuleClass", bound=type[nn.Module])


class Scope(nn.Module):
    """The layers of a nested dict, so that `model.stage1.conv` and `stage1.conv` in `state_dict()` are one thing."""

    def forward(self, *inputs: Any) -> Any:
        """Refuse: the layers are run by the `GraphModule` that they belong to."""
        raise GraphError(
            "a nested dict of layers cannot be called by itself: ask the model for its layers as outputs "
            "(a method that has the name of a nested dict is called as GraphModule.layers(model))"
        )


def attribute(scope: nn.Module, key: str, what: str, facts: list[Fact]) -> Any:
    """Return a layer or nested dict of a scope, and note in `facts` where it was found."""
    mapping = scope._modules if key in scope._modules else scope.__dict__
    value = mapping.get(key)
    if value is None:
        raise GraphError(f"{what} has been removed from the model")
    facts.append((mapping, key, value))
    return value


def declare(root: nn.Module, name: str, operation: Operation) -> None:
    """Make an operation the attribute of this dotted name, unless it is so already.

    Raises:
        GraphError: The name is something else's.
    """
    *scopes, key = name.split(".")
    scope = root
    for depth, part in enumerate(scopes, start=1):
        child = scope._modules.get(part)
        if not isinstance(child, Scope) and not (child is not None and isinstance(operation, Value)):
            _check_attribute(scope, part, f"the nested dict {'.'.join(scopes[:depth])!r}")
            child = Scope()
            child.training = root.training
            setattr(scope, part, child)
        scope = child
    if isinstance(operation, Value):
        if key not in scope._parameters and key not in scope._buffers:
            _check_attribute(scope, key, f"the layer {name!r}")
            operation.register(scope, key)
    elif scope._modules.get(key) is not operation:
        _check_attribute(scope, key, f"the layer {name!r}")
        setattr(scope, key, operation)


def mirror(module: nn.Module, scope: nn.Module, opened: Collection[str]) -> None:
    """Give a scope the parameters, buffers and submodules of a module, in their order and under their names.

    Args:
        module: The module, which is left unchanged and shares all that it has.
        scope: A new module.
        opened: Paths of the submodules that become scopes; all others are taken as they are.
    """
    twins: dict[int, Scope] = {}

    def fill(scope: nn.Module, original: nn.Module, path: str) -> None:
        scope.training = original.training
        scope._parameters.update(original._parameters)
        scope._buffers.update(original._buffers)
        scope._non_persistent_buffers_set.update(original._non_persistent_buffers_set)
        for key, child in original._modules.items():
            name = f"{path}.{key}" if path else key
            if child is not None and id(child) in twins:
                scope._modules[key] = twins[id(child)]
            elif child is not None and name in opened:
                scope._modules[key] = twins[id(child)] = Scope()
                fill(twins[id(child)], child, name)
            else:
                scope._modules[key] = child

    fill(scope, module, "")


class _Yielding:
    """A method or property that steps back where a module of its instance has the same name."""

    def __init__(self, name: str, wrapped: Any) -> None:
        self.name = name
        self.wrapped = wrapped

    def __get__(self, instance: nn.Module | None, owner: type) -> Any:
        if instance is not None:
            own = instance.__dict__.get("_modules", {}).get(self.name)
            if own is not None:
                return own
            if isinstance(self.wrapped, type(_Yielding.__get__)):
                return MethodType(self.wrapped, instance)
        elif isinstance(self.wrapped, property):
            return self.wrapped
        return self.wrapped.__get__(instance, owner)

    def __set__(self, instance: nn.Module, value: Any) -> None:
        raise AttributeError(f"{self.name!r} of a {type(instance).__name__} cannot be set")


def yields_to_modules(kind: ModuleClass) -> ModuleClass:
    """Let submodules have the names of what a class adds to `nn.Module`: `model.layers` is then the submodule.

    A traced model must keep its submodules' names. The method remains there as `GraphModule.layers(model)`. A class
    decorator.
    """
    for name, value in list(vars(kind).items()):
        if not name.startswith("_") and not hasattr(nn.Module, name):
            setattr(kind, name, _Yielding(name, value))
    return kind


def check_name_of_attribute(scope: nn.Module, key: str, what: str) -> None:
    """Raise a GraphError if a scope has an attribute of this name, be it a method that would step back."""
    if hasattr(type(scope), key) or key in scope.__dict__ or key in scope._modules:
        raise GraphError(f"{what} must have another name: {key!r} is already an attribute of {type(scope).__name__}")


def _check_attribute(scope: nn.Module, key: str, what: str) -> None:
    if not isinstance(vars(type(scope)).get(key), _Yielding) or key in scope._modules:
        check_name_of_attribute(scope, key, what)
