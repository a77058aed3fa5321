"""One name for one class."""

from __future__ import annotations

import functools
import importlib


@functools.cache
def public_path(cls: type, given: str | None = None) -> str:
    """Return the shortest path by which ``cls`` can be imported, so that one class has one name in a signature.

    A class that cannot be imported by its own name (one that a function made, say) keeps the path ``given``.
    """
    parts = cls.__module__.split(".")
    for length in range(1, len(parts) + 1):
        module = importlib.import_module(".".join(parts[:length]))
        if getattr(module, cls.__qualname__, None) is cls:
            return f"{module.__name__}.{cls.__qualname__}"
    return given or f"{cls.__module__}.{cls.__qualname__}"


@functools.cache
def public_path_of(path: str) -> str:
    """Return the public path of the class at ``path``, or ``path`` itself if there is no class."""
    module_path, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_path), name)
    except (ImportError, AttributeError, ValueError):
        return path
    return public_path(found, path) if isinstance(found, type) else path
