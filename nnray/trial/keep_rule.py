"""Which of a trial's checkpoints stay: all, the last, the best, every n-th, or the top k."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_GRAMMAR = re.compile(r"(all|last|best)|(every|top) +0*([1-9]\d*)")


@dataclass(frozen=True)
class KeepRule:
    """What ``checkpoint.keep`` says.

    Attributes:
        kind: ``all``; ``last``, the newest; ``every``, each ``count``-th epoch and the newest; ``top``, the ``count``
            best by a metric, of which equal ones rank by age, the older first, and those without a number last.
        count: A positive number; 1 where it means nothing.
    """

    kind: Literal["all", "last", "every", "top"]
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> KeepRule:
        """Return the rule that is spelled ``all``, ``last``, ``best``, ``every N`` or ``top K``.

        Raises:
            ValueError: If it is none of them.
        """
        match = _GRAMMAR.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"expected all, last, best, 'every N' or 'top K', as in 'every 5', got {text!r}")
        if match[1] == "best":
            return cls("top")
        return cls(match[1] or match[2], int(match[3] or 1))  # type: ignore[arg-type]

    def chosen(self, epochs: list[int], values: dict[int, float] | None = None, mode: str = "max") -> set[int]:
        """Return which of ``epochs`` stay.

        What is chosen of what was chosen before and one more epoch is what is chosen of all of them, so that it doesn't
        matter when, and how often, others are removed.

        Args:
            epochs: Those whose weights there are, at least one.
            values: The metric's value in each of them; only ``top`` needs it.
            mode: Whether a larger (``max``) or a smaller (``min``) value is better.
        """
        if self.kind == "all":
            return set(epochs)
        if self.kind == "top":
            return set(sorted(epochs, key=lambda epoch: _rank((values or {})[epoch], mode, epoch))[: self.count])
        newest = {max(epochs)}
        if self.kind == "last":
            return newest
        return newest | {epoch for epoch in epochs if (epoch + 1) % self.count == 0}


def _rank(value: float, mode: str, epoch: int) -> tuple[bool, float, int]:
    if value != value:  # NaN
        return True, 0.0, epoch
    return False, -value if mode == "max" else value, epoch
