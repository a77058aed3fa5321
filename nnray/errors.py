"""What can go wrong, by name: one family of errors whose messages are a single line for the person who caused them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NnrayError(Exception):
    """Base of every error that nnray raises on purpose; its message is one line that names the thing at fault."""


class ConfigurationError(NnrayError):
    """A trial's configuration has an unknown key, a value of the wrong type, or parts that don't fit together."""


class SpaceError(NnrayError):
    """A search space cannot be read, makes no trials, or asks for what no machine has."""


class GraphError(NnrayError):
    """An architecture is not a valid graph, or a layer is asked for that it doesn't have."""


class DataError(NnrayError):
    """A data set is not there or not in the form that its class expects."""


class StoreError(NnrayError):
    """A store cannot be read or written, or does not hold what was asked for."""


class TrialError(NnrayError):
    """A trial cannot go on: it diverged, or what it needs is missing.

    Attributes:
        diverged: Whether its loss is no number any more, so that nothing is gained by trying it again.
    """

    def __init__(self, message: str, diverged: bool = False) -> None:
        super().__init__(message)
        self.diverged = diverged


class AnalysisError(NnrayError):
    """An analysis cannot be done: no network, layer or stimulus is as it needs, or a job's folder is another job's."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``: the valid names nearest to ``name``, or what there is to choose from."""
    names = sorted(set(valid))
    other_case = [valid for valid in names if valid.lower() == name.lower()]
    close = other_case or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(match) for match in close)}?"
    if not names:
        return ""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; there is: {shown}"
