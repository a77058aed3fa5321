"""Which code trains: the commit that is checked out, what differs from it, and files that git does not track."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nnray.redaction import masked_code, may_hold_secrets
from nnray.store.files import on_this_machine

_LARGEST_DIFF = 10_000_000
_LARGEST_FILE = 1_000_000
_LARGEST_SUM = 20_000_000
_MOST_FILES = 1000
_SENT_ALONG = ".nnray-code.json"
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-renames", "--no-relative", "--full-index")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
_FILE_OF_DIFF = re.compile(r"(?m)^(?=diff --git )")
_CONTENT_OF_DIFF = re.compile(r"(?m)^(?:@@ |GIT binary patch)")

WITHHELD = "... left out: the file may hold a secret\n"
"""Stands in a diff in place of the changes of a file."""
CUT = "\n... cut: the whole diff has "
"""Stands at the end of a diff that is too long to be kept."""


@dataclass(frozen=True)
class Code:
    """The state of the repository that a command was started in.

    Attributes:
        commit: The commit that is checked out, None outside a repository.
        diff: What tracked files differ by from it ("" for nothing), passwords and tokens masked.
        untracked: The content of files that git neither tracks nor ignores, by their paths in the repository, masked
            likewise.
        left_out: Untracked files whose content is not taken, and why.
        kept: The folder of the store that holds diff and untracked files (:mod:`nnray.training.kept_code`), None if
            there is none.
    """

    commit: str | None = None
    diff: str | None = None
    untracked: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    kept: str | None = field(default=None, compare=False)


def code_of(folder: Path, results: Iterable[Path] = ()) -> Code:
    """Return the state of the git repository that ``folder`` lies in.

    Args:
        folder: A folder, which may lie in no repository.
        results: Folders of results, which are no code whether git ignores them or not.
    """
    commit = git_output(folder, "rev-parse", "HEAD")
    if commit is None:
        return _sent_along(folder)
    diff = git_output(folder, *_DIFF, *_PREFIXES)
    if diff is not None:
        size = len(diff)
        diff = _without_secrets(diff[:_LARGEST_DIFF])
        diff += f"{CUT}{size} characters\n" if size > _LARGEST_DIFF else ""
    return Code(commit.strip(), diff, *_untracked(folder, results))


def send_along(code: Code, copy: Path) -> None:
    """Let :func:`code_of` tell ``code`` in ``copy``, a copy of a repository's files without ``.git``."""
    if code.commit is not None:
        (copy / _SENT_ALONG).write_text(json.dumps({"commit": code.commit, "diff": code.diff}))


def _sent_along(folder: Path) -> Code:
    for place in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Code(**json.loads((place / _SENT_ALONG).read_text()))
    return Code()


def git_output(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in ``folder``; None if it fails, or there is none."""
    command = ["git", "-c", "core.quotePath=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def _untracked(folder: Path, results: Iterable[Path]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return content by path, and the reasons why other files are left out."""
    top = git_output(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return {}, {}
    root = Path(top.rstrip("\n"))
    local = on_this_machine(results)
    inside = (place.resolve() for place in local if place.resolve().is_relative_to(root.resolve()))
    excluded = [f"--exclude=/{_escaped(place.relative_to(root.resolve()).as_posix())}/" for place in inside]
    listed = git_output(root, "ls-files", "-z", "--others", "--exclude-standard", *excluded) or ""
    names = sorted(filter(None, listed.split("\0")), key=lambda name: (not name.endswith(".py"), name))
    found: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    total = 0
    for name in names[:_MOST_FILES]:
        content = _content(root / name)
        if isinstance(content, bytes) and total + len(content) > _LARGEST_SUM:
            content = "too much in all"
        if isinstance(content, str):
            left_out[name] = content
        else:
            found[name] = content
            total += len(content)
    if len(names) > _MOST_FILES:
        left_out[f"{len(names) - _MOST_FILES} more"] = "too many files"
    return found, left_out


def _content(path: Path) -> bytes | str:
    """Return a file's content, or why it is not taken."""
    if may_hold_secrets(path):
        return "may hold a secret"
    try:
        if path.is_symlink() or not path.is_file():
            return "not a file"
        size = path.stat().st_size
        return f"too large ({size} bytes)" if size > _LARGEST_FILE else _masked(path.read_bytes(), path)
    except OSError as error:
        return str(error.strerror)


def _masked(content: bytes, path: Path) -> bytes:
    """Mask the secrets in text; bytes that are no UTF-8 stay as they are."""
    return masked_code(content.decode("utf-8", "surrogateescape"), path).encode("utf-8", "surrogateescape")


def _without_secrets(diff: str) -> str:
    """Mask secrets in a diff; of a file that may hold nothing else only the head stays, with the content's hashes."""
    parts = []
    for part in _FILE_OF_DIFF.split(diff):
        name = PurePath(part.partition("\n")[0].rpartition(" b/")[2].rstrip('"'))
        content = _CONTENT_OF_DIFF.search(part)
        if may_hold_secrets(name) and content is not None:
            part = f"{part[: content.start()]}{WITHHELD}"
        parts.append(masked_code(part, name))
    return "".join(parts)


def _escaped(path: str) -> str:
    """Return a path as a pattern of git that means nothing else."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", path)
