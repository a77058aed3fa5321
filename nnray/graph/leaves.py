"""Which submodules are one layer when a model is traced, and which are looked into."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from nnray.errors import GraphError, did_you_mean
from nnray.graph.architecture import GLOB_CHARACTERS

Opaque = str | type[nn.Module] | Callable[..., Any]


def check_not_compiled(module: nn.Module) -> None:
    """Raise a GraphError for what `torch.compile` returns, which is no network but a way to run one."""
    if isinstance(getattr(module, "_orig_mod", None), nn.Module):
        raise GraphError(
            f"{type(module).__name__} is what torch.compile returns: give the model that was compiled "
            "(its attribute _orig_mod), or compile that in place with model.compile()"
        )


class Leaves:
    """Decide for each submodule whether it is one layer.

    It is if it has no submodules, is one of PyTorch's own (but for containers) or a kind of batch normalisation, is a
    graph already, or if somebody said so: the caller, or timm, which registers what cannot be traced.

    Args:
        module: The model.
        opaque: Names or globs of submodules, classes of modules, and functions that are one layer besides.

    Raises:
        GraphError: A name, glob or class of `opaque` stands for no submodule, or it is none of the above.
    """

    def __init__(self, module: nn.Module, opaque: str | Iterable[Opaque]) -> None:
        listed = [opaque] if isinstance(opaque, str) or not isinstance(opaque, Iterable) else list(opaque)
        names = [name for name, _ in module.named_modules() if name]
        children = [child for name, child in module.named_modules() if name]
        self._names: set[str] = set()
        classes: list[type] = []
        self.functions: list[Callable[..., Any]] = []
        for item in listed:
            if isinstance(item, str):
                exact = GLOB_CHARACTERS.isdisjoint(item)
                found = [name for name in names if (name == item if exact else fnmatchcase(name, item))]
                if not found:
                    raise GraphError(f"no submodule is called {item!r}, to make it opaque{did_you_mean(item, names)}")
                self._names.update(found)
            elif isinstance(item, type) and issubclass(item, nn.Module):
                if not any(isinstance(child, item) for child in children):
                    there = {type(child).__name__ for child in children}
                    raise GraphError(
                        f"no submodule is a {item.__name__}, to make it opaque{did_you_mean(item.__name__, there)}"
                    )
                classes.append(item)
            elif callable(item) and not isinstance(item, type | nn.Module):
                self.functions.append(item)
            else:
                raise GraphError(f"opaque lists names, globs, classes of modules and functions, not {item!r}")
        if "timm.layers" in sys.modules:
            classes.extend(sys.modules["timm.layers"].get_notrace_modules())
            self.functions.extend(sys.modules["timm.layers"].get_notrace_functions())
        self._classes = tuple(classes)

    def __contains__(self, named: tuple[str, nn.Module]) -> bool:
        name, module = named
        if not name:
            return False
        if name in self._names or isinstance(module, (*self._classes, nn.modules.batchnorm._NormBase)):
            return True
        own = type(module).__module__
        if own.startswith(("torch.nn.", "torch.ao.nn.", "nnray.graph.")):
            return not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        return not any(module.children())
