"""Where a result comes from besides its code: the libraries and the machine."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from nnray.store.files import write_text
from nnray.trial.paths import StorePaths

_LIBRARIES = ("nnray", "torchvision", "lightning", "numpy")


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


@cache
def gpu_driver() -> str | None:
    """Return the version of this machine's NVIDIA driver, None if there is none."""
    try:
        told = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"Module\s+(?:for \S+\s+)?(\d[\d.]+)", told)
    return found.group(1) if found else None


@cache
def installed_packages() -> str:
    """Return every package that this process can import as ``name==version``, a line each, in order.

    Told by the names of the folders of metadata, which takes milliseconds; reading the metadata takes a second.
    """
    found = {}
    for entry in reversed(sys.path):
        for folder in Path(entry or ".").glob("*.dist-info"):
            name, _, number = folder.name.removesuffix(".dist-info").rpartition("-")
            found[name] = number
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found, key=str.lower))


@cache
def kept_packages(store: StorePaths) -> str:
    """Keep :func:`installed_packages` in ``store``, once however many trials there are; return the file's name."""
    text = installed_packages()
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = store.packages(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return name
