"""Operations that are plain data: calls with constants, parts of what a layer returns, parameters as values.

A layer is computed by `operation(*values of its inputs)`. These classes bring what networks do besides into that form,
so that it has a name, can be pickled and compiled, and `nnray.graph.effects` can tell what it writes into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nnray.errors import GraphError

Operation = Callable[..., Any]


class Input(NamedTuple):
    """Stands in the arguments of a `Call` for the value of the layer's input at this position."""

    position: int


class Call:
    """A function called with values of other layers and with constants: `Call(torch.flatten, Input(0), 1)`.

    Args:
        function: A function, a `Method`, an `Overload` or a module.
        args: Its arguments. Each may be an `Input`, a constant, or a tuple, list, dict or slice of those.
        kwargs: Its keyword arguments, likewise.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        count = next((index for index, arg in enumerate(args) if not isinstance(arg, Input)), len(args))
        is_plain = args[:count] == tuple(map(Input, range(count))) and not any(
            map(_has_input, (*args[count:], *kwargs.values()))
        )
        self._constants = args[count:] if is_plain else None  # the usual case, in which nothing needs to be filled in

    def __call__(self, *values: Any) -> Any:
        """Call the function with its constants and these values of the inputs."""
        return self.apply(self.function, values)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        listed = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"{type(self).__name__}({', '.join([name, *listed])})"

    def apply(self, function: Callable[..., Any], values: Sequence[Any]) -> Any:
        """Call another function in the same way."""
        if self._constants is not None:
            return function(*values, *self._constants, **self.kwargs)
        kwargs = {key: _fill(value, values) for key, value in self.kwargs.items()}
        return function(*[_fill(arg, values) for arg in self.args], **kwargs)

    def of(self, function: Callable[..., Any]) -> Call:
        """Return the same call of another function."""
        return type(self)(function, *self.args, **self.kwargs)

    def inputs_within(self, arguments: int) -> int:
        """Return how many inputs, counted from the first, occur in the first so many positional arguments."""
        positions = [position for arg in self.args[:arguments] for position in _positions(arg)]
        return max(positions, default=-1) + 1


class Size(Call):
    """A call that returns no tensor, but numbers and types that describe tensors, such as a height.

    It has a name like all layers, but globs don't stand for it.
    """


class Method:
    """Call the method of this name of the first argument."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, owner: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return getattr(owner, self.__name__)(*args, **kwargs)


class Overload:
    """An operator of PyTorch's dispatcher by its name, such as `aten.add.Tensor`; itself it cannot be pickled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._resolve()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the operator."""
        return self.operator(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name = state["name"]
        self._resolve()

    def _resolve(self) -> None:
        namespace, packet, overload = self.name.split(".")
        self.__name__ = packet
        self.operator = getattr(getattr(getattr(torch.ops, namespace), packet), overload)


class ByMode(nn.Module):
    """A function with other constants in training mode than in evaluation mode, such as a functional dropout.

    Args:
        training: The call in training mode.
        evaluation: The call in evaluation mode, with the same inputs.
    """

    def __init__(self, training: Call, evaluation: Call) -> None:
        super().__init__()
        self.calls = {True: training, False: evaluation}

    def forward(self, *values: Any) -> Any:
        """Make the call of the present mode."""
        return self.calls[self.training](*values)


class Again:
    """A further use of a module that is another layer's, whose parameters keep that layer's name alone.

    Args:
        of: Name of that layer.
    """

    def __init__(self, of: str) -> None:
        self.of = of

    def __call__(self, *values: Any) -> Any:
        """Refuse: the graph calls the module."""
        raise GraphError(f"a further use of {self.of!r} cannot be called outside of its graph")


class Part:
    """What a tuple, list or dict returned by another layer holds at a key; `lstm.0` is a part of the layer `lstm`.

    Args:
        key: An index, a key of a dict or a field of a named tuple, as a string.
        of: Name of the layer, for errors.
    """

    def __init__(self, key: str, of: str) -> None:
        self.key = key
        self.of = of

    def __call__(self, value: Any) -> Any:
        """Return the part, or raise a GraphError that lists the parts that there are."""
        if isinstance(value, Mapping):
            if self.key in value:
                return value[self.key]
            there: list[str] = [str(key) for key in value]
        elif isinstance(value, list | tuple):
            fields = getattr(value, "_fields", ())
            if self.key in fields:
                return getattr(value, self.key)
            if self.key.isdecimal() and int(self.key) < len(value):
                return value[int(self.key)]
            there = [*map(str, range(len(value))), *fields]
        else:
            raise GraphError(f"there is no {f'{self.of}.{self.key}'!r}: {self.of!r} returns a {type(value).__name__}")
        raise GraphError(
            f"there is no {f'{self.of}.{self.key}'!r}: {self.of!r} returns a {type(value).__name__} "
            f"with the parts {', '.join(there)}"
        )


class Value:
    """A parameter or buffer as the value of a layer that has no inputs.

    It is looked up anew in each call, because `torch.func`, `.to()` and parametrizations put others in its place.

    Args:
        owner: The module that has it.
        key: The name of its attribute.
    """

    def __init__(self, owner: nn.Module, key: str) -> None:
        self.owner = owner
        self.key = key

    @classmethod
    def of(cls, tensor: Tensor) -> Value:
        """Wrap a tensor that no module has yet; all but parameters become buffers."""
        owner = nn.Module()
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter("value", tensor)
        else:
            owner.register_buffer("value", tensor, persistent=getattr(tensor, "persistent", True))
        return cls(owner, "value")

    def __call__(self) -> Tensor:
        """Return the tensor that is there now."""
        return getattr(self.owner, self.key)

    def register(self, module: nn.Module, key: str) -> None:
        """Make the tensor a parameter or buffer of a module."""
        tensor = self()
        if self.key in self.owner._parameters:
            module.register_parameter(key, self.owner._parameters[self.key])
        else:
            persistent = self.key in self.owner._buffers and self.key not in self.owner._non_persistent_buffers_set
            module.register_buffer(key, tensor, persistent=persistent)


def structure(value: Any) -> Any:
    """Return the value: as a call it puts values of other layers together into a tuple or dict."""
    return value


def _fill(template: Any, values: Sequence[Any]) -> Any:
    kind = type(template)
    if kind is Input:
        return values[template.position]
    if kind is slice:
        return slice(*[_fill(item, values) for item in (template.start, template.stop, template.step)])
    if isinstance(template, dict):
        return (
            kind(**{key: _fill(item, values) for key, item in template.items()})
            if kind is not dict
            else {key: _fill(item, values) for key, item in template.items()}
        )
    if isinstance(template, tuple | list):
        items = [_fill(item, values) for item in template]
        if hasattr(template, "_fields"):
            return kind(*items)
        return items if isinstance(template, list) else tuple(items)
    return template


def _positions(template: Any) -> list[int]:
    if isinstance(template, Input):
        return [template.position]
    items: Any = ()
    if isinstance(template, slice):
        items = (template.start, template.stop, template.step)
    elif isinstance(template, dict):
        items = template.values()
    elif isinstance(template, tuple | list):
        items = template
    return [position for item in items for position in _positions(item)]


def _has_input(template: Any) -> bool:
    return bool(_positions(template))
