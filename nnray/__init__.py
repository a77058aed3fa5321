"""Train thousands of small vision networks as explicit graphs on Ray, keep all of them, and study every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnray.space import Sweep, grid, zipped
    from nnray.store import open  # noqa: A004 - nnray.open is the name that people expect

__all__ = ["Sweep", "grid", "open", "zipped"]

_HOMES = {"Sweep": "nnray.space", "grid": "nnray.space", "open": "nnray.store", "zipped": "nnray.space"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import nnray`` alone stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nnray' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
