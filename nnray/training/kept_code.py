"""The code of trials, kept in their store: once by content, however many trials it trained.

``code/<name>/`` holds ``changes.diff`` (what tracked files differed by from the commit), ``untracked/`` (files that git
did not track) and ``about.json`` (the commit, and what was left out). Its name is a hash of all that.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from nnray.store.files import write_folder
from nnray.store.record import Record
from nnray.training.code import CUT, Code
from nnray.trial.paths import StorePaths

_DIFF = "changes.diff"


def keep_code(code: Code, store: StorePaths) -> Code:
    """Write what ``code`` differs from its commit by to ``store``; return the code with the folder's name instead.

    Of a repository without changes nothing is written.
    """
    if not (code.diff or code.untracked or code.left_out):
        return code
    about = json.dumps({"commit": code.commit, "left_out": dict(code.left_out)}, indent=1, sort_keys=True) + "\n"
    files = {"about.json": about.encode(), _DIFF: (code.diff or "").encode("utf-8", "replace")}
    files |= {f"untracked/{name}": content for name, content in sorted(code.untracked.items())}
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    kept = digest.hexdigest()[:16]
    write_folder(store.code(kept), files, last="about.json")
    return Code(code.commit, None, kept=kept)


def recorded_code(store: StorePaths, record: Record) -> Code:
    """Return the commit and the diff that a record tells of; a diff that is gone from the store counts as cut."""
    if record.code is None:
        return Code(record.git_commit, record.git_diff)
    return Code(record.git_commit, _read_diff(store.code(record.code) / _DIFF), kept=record.code)


@functools.lru_cache(maxsize=64)
def _read_diff(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return f"{CUT}been lost\n"
