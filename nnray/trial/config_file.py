"""The content of a trial's ``config.yaml``: YAML behind a comment with its checksum.

A value that was changed into another one of its type so shows in the file alone, whatever signature its configuration
has today. Former versions wrote no comment: a file without one is taken as it is. In a copy that lies anywhere else it
is a comment like any other, so that a copy may be changed.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from nnray.trial.paths import StorePaths

_COMMENT = b"# crc32 %08x\n"
_COMMENT_SIZE = len(_COMMENT % 0)
_BEGINNING = re.compile(rb"# crc32|#[^\n]{15}\n")
"""What the comment begins with, or how long it is: one that was changed itself is one all the same."""


def with_checksum(text: str) -> str:
    """Return what the file holds of a trial whose configuration is ``text`` in YAML."""
    return (_COMMENT % zlib.crc32(text.encode())).decode() + text


def without_checksum(content: bytes) -> bytes | None:
    """Return the YAML in the ``content`` of a trial's file, None if that is not what was written."""
    if not _BEGINNING.match(content):
        return content
    comment, text = content[:_COMMENT_SIZE], content[_COMMENT_SIZE:]
    return text if comment == _COMMENT % zlib.crc32(text) else None


def is_of_trial(path: Path) -> bool:
    """Tell whether ``path`` is that of the configuration of a trial in a store."""
    path = path.absolute()
    return len(path.parents) > 2 and StorePaths(path.parents[2]).trial(path.parent.name).config == path
