"""Which code trains: the commit that is checked out, what differs from it, and files that git does not track."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LARGEST_DIFF = 10_000_000
_LARGEST_FILE = 1_000_000
_LARGEST_SUM = 20_000_000
_MOST_FILES = 1000
_SENT_ALONG = ".nnray-code.json"
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-renames", "--no-relative", "--full-index")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
_SECRET = re.compile(
    r"\.env(\..*)?|\.envrc|\.netrc|\.pypirc|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519)(\.pub)?|.*\.(pem|key|p12|pfx|jks|kdbx|ppk)"
    r"|(.*[._-])?(secrets?|credentials?|passwords?|tokens?|api[_-]?keys?)([._-].*)?",
    re.IGNORECASE,
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".azure", ".kube"})

CUT = "\n... cut: the whole diff has "
"""Stands at the end of a diff that is too long to be kept."""


@dataclass(frozen=True)
class Code:
    """The state of the repository that a command was started in.

    Attributes:
        commit: The commit that is checked out, None outside a repository.
        diff: What tracked files differ by from it ("" for nothing).
        untracked: The content of files that git neither tracks nor ignores, by their paths in the repository.
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
    if diff is not None and len(diff) > _LARGEST_DIFF:
        diff = f"{diff[:_LARGEST_DIFF]}{CUT}{len(diff)} characters\n"
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
    inside = (place.resolve() for place in results if place.resolve().is_relative_to(root.resolve()))
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
    if (path.suffix != ".py" and _SECRET.fullmatch(path.name)) or not _SECRET_FOLDERS.isdisjoint(path.parts):
        return "may hold a secret"
    try:
        if path.is_symlink() or not path.is_file():
            return "not a file"
        size = path.stat().st_size
        return f"too large ({size} bytes)" if size > _LARGEST_FILE else path.read_bytes()
    except OSError as error:
        return str(error.strerror)


def _escaped(path: str) -> str:
    """Return a path as a pattern of git that means nothing else."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", path)
