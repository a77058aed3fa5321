"""The command as a person typed it, for the records of trials: without what nobody else should read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

MASK = "***"
_WORD = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credentials?)"
_IN_URI = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_IN_PAIR = re.compile(rf"(?i)([\w.-]*{_WORD}[\w.-]*=)[^&]+")
_OPTION = re.compile(rf"(?i)--?[\w.-]*{_WORD}[\w.-]*")


def masked_command(words: Sequence[str]) -> str:
    """Return ``words`` as a shell takes them, with passwords and tokens as ``***``: in URIs, options and KEY=VALUE."""
    shown: list[str] = []
    for word in words:
        if shown and _OPTION.fullmatch(shown[-1]) and not word.startswith("--"):
            shown.append(MASK)
        else:
            shown.append(_IN_PAIR.sub(rf"\1{MASK}", _IN_URI.sub(MASK, word)))
    return " ".join(_quoted(word) for word in shown)


def _quoted(word: str) -> str:
    bare = word.replace(MASK, "x")
    return word if shlex.quote(bare) == bare else shlex.quote(word)
