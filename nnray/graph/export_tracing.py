"""Placeholder."""
from typing import Any
def export_graph(*args: Any) -> Any:
    """Raise."""
    raise NotImplementedError
