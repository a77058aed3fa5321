"""What a store says of itself, in ``store.json`` at its root: the layout's version, and how claims are made there.

It is written once, by the first command that writes to the store, so that all hosts claim in the same way even if they
see different file systems.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from nnray.errors import StoreError
from nnray.store.files import create, is_object
from nnray.store.shared_locks import mount_of, shares_locks

FORMAT = 1
"""Version of the layout that this version of nnray reads and writes."""
FILE = "store.json"

Claims = Literal["locks", "leases"]

_DEPTH = 3
"""How far below a store's root claims lie, at most: ``trials/<signature>/claim.lock``."""
_HALF_WRITTEN_S = 1.0


@dataclass(frozen=True)
class StoreFormat:
    """The content of ``store.json``.

    Attributes:
        format: Version of the layout.
        claims: Whether claims are locks or leases (:mod:`nnray.store.claim`).
    """

    format: int
    claims: Claims


def read_format(root: Path) -> StoreFormat | None:
    """Return what the store at ``root`` says of itself, None if nobody has written to it yet.

    Raises:
        StoreError: If the file is damaged, or says that a newer version of nnray wrote the store.
    """
    path, deadline = root / FILE, time.monotonic() + _HALF_WRITTEN_S
    try:
        while not (text := path.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.02)  # just being written, where there are no hard links
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    version: Any = None
    claims: Any = None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        values = json.loads(text)
        version = values["format"]
        claims = values["claims"]
    if isinstance(version, int) and version > FORMAT:
        raise StoreError(f"{path} is of format {version}, and this version of nnray knows {FORMAT}: update nnray")
    if version != FORMAT or claims not in get_args(Claims):
        raise StoreError(f'{path} is damaged: it should say {{"format": {FORMAT}, "claims": "locks"}} or "leases"')
    return StoreFormat(FORMAT, claims)


def settle_format(root: Path, claims: Claims | None = None) -> StoreFormat:
    """Return what the store at ``root`` says of itself, after having it say so if it doesn't yet.

    Args:
        root: The store's folder; made if it is not there.
        claims: How claims are to be made if that is still open; by default, what the file system can do decides.

    Raises:
        StoreError: See :func:`read_format`; or the store cannot be written.
    """
    settled = read_format(root)
    if settled is None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            settled = StoreFormat(FORMAT, claims or native_claims(root))
            if not create(root / FILE, (json.dumps(asdict(settled)) + "\n").encode()):
                settled = read_format(root) or settled  # another process was faster
        except OSError as error:
            raise StoreError(f"cannot write to the store {root}: {error.strerror}") from error
    return settled


def native_claims(folder: Path) -> Claims:
    """Return how claims can be made in ``folder``, as far as this host can tell."""
    return "leases" if is_object(folder) or not shares_locks(folder) else "locks"


def claims_around(path: Path) -> Claims:
    """Return how claims are made in the store in which ``path`` lies; where it lies in none, what can be done there."""
    if is_object(path):
        return "leases"
    for root in list(path.parents)[:_DEPTH]:
        if (claims := _settled_claims(root)) is not None:
            return claims
    folder = next(folder for folder in path.parents if folder.exists())
    return _likely_claims(folder.stat().st_dev, folder)


_known: dict[Path, Claims] = {}


def _settled_claims(root: Path) -> Claims | None:
    if root not in _known and (settled := read_format(root)) is not None:
        _known[root] = settled.claims  # which never changes
    return _known.get(root)


@cache
def _likely_claims(device: int, folder: Path) -> Claims:
    """Return what :func:`native_claims` does, without a lock for trial: who only asks may have to write nothing."""
    mount = mount_of(folder)
    return "locks" if mount is None or mount.shares_locks else "leases"
