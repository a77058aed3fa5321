"""Where a result comes from: the code, the libraries and the machine."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_LIBRARIES = ("nnray", "torchvision", "lightning", "numpy")
_LARGEST_DIFF = 1_000_000
_DIFF = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-renames", "--no-relative", "--full-index")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")

CUT = "\n... cut: the whole diff has "
"""Stands at the end of a diff that is too long to be kept."""


@dataclass(frozen=True)
class Code:
    """The state of the repository that a command was started in.

    Attributes:
        commit: The commit that is checked out, None outside a repository.
        diff: What tracked files differ by from it ("" for nothing).
    """

    commit: str | None = None
    diff: str | None = None


def code_of(folder: Path) -> Code:
    """Return the state of the git repository that ``folder`` lies in."""
    commit = git_output(folder, "rev-parse", "HEAD")
    if commit is None:
        return Code()
    diff = git_output(folder, *_DIFF, *_PREFIXES)
    if diff is not None and len(diff) > _LARGEST_DIFF:
        diff = f"{diff[:_LARGEST_DIFF]}{CUT}{len(diff)} characters\n"
    return Code(commit.strip(), diff)


def git_output(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in ``folder``; None if it fails, or there is none."""
    command = ["git", "-c", "core.quotePath=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that make a result."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}  # which tells CUDA's version too
    for library in _LIBRARIES:
        found[library] = _version(library)
    return found


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


@cache
def processor() -> str:
    """Return the model of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
