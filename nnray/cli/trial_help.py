"""The arguments of a class, for ``nnray train --model.help ResNet``."""

from __future__ import annotations

from nnray.trial.class_paths import public_path
from nnray.trial.components import arguments_help, find_class


def class_help(kind: str, name: str) -> str:
    """Return the arguments of the class ``name`` under the key ``kind``, with types, defaults and meaning."""
    cls = find_class(kind, name)
    return f"{kind}: {public_path(cls)}\n\n{arguments_help(kind, cls)}"
