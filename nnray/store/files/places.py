"""Which place a text names, and whether it can hold a store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from nnray.errors import StoreError, did_you_mean
from nnray.store.files.bucket import http_status, impatient, os_errors
from nnray.store.files.conditional import put_new, put_over
from nnray.store.files.in_parts import NOBODYS
from nnray.store.files.object_path import SCHEME, ObjectPath, is_local, is_object

_SCHEMES = ("s3", "file")


def path_of(place: str) -> Path:
    """Return the path that ``place`` names: a folder, ``file:///folder`` or ``s3://bucket/folder``.

    Raises:
        StoreError: If it is the URI of something else, or incomplete.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return Path(place)
    if scheme not in _SCHEMES:
        raise StoreError(
            f"{place}: a store is a folder or s3://bucket/folder, not {scheme}://{did_you_mean(scheme, _SCHEMES)}"
        )
    if scheme == "file":
        parts = urlsplit(place)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise StoreError(f"{place}: a folder on this machine has three slashes, as in file:///data/store")
        return Path(unquote(parts.path))
    bucket, *parts_of_key = rest.rstrip("/").split("/")
    if not bucket or any(part in ("", ".", "..") for part in parts_of_key):
        raise StoreError(f"{place}: s3://bucket/folder is expected")
    return cast(Path, ObjectPath(SCHEME + rest.rstrip("/")))


def on_this_machine(paths: Iterable[Path]) -> list[Path]:
    """Return those of ``paths`` that are files or folders of this machine, and not in an object store."""
    return [path for path in paths if is_local(path)]


def shown(path: Path) -> str:
    """Return ``path`` as people are told of it: relative to the current folder, or its URI."""
    return os.path.relpath(path) if is_local(path) else str(path)


def check_reachable(root: Path) -> None:
    """Refuse an object store that does not answer, or has no such bucket; at once, without trying again.

    Raises:
        StoreError: One line that names what is missing.
    """
    if not is_object(root):
        return
    try:
        _list(root)
    except OSError as error:
        raise StoreError(_reason(root, error)) from error


def check_exclusive(root: Path) -> None:
    """Refuse an object store that does not heed conditions: claims could not be told from it, nor runners kept apart.

    Raises:
        StoreError: One line that says so, or that nothing can be written there.
    """
    if not is_object(root):
        return
    probe = root / f".probe-{uuid4().hex}"
    try:
        refuses_a_second = put_new(probe, b"first") and not put_new(probe, b"second")
        refuses_another = not put_over(probe, b"third", NOBODYS)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write to the store {root}: {error.strerror or error}") from error
    if not refuses_a_second:
        raise StoreError(
            f"{root} cannot be a store: its server makes an object twice (it does not heed If-None-Match), so that two "
            "commands could train one trial at once"
        )
    if not refuses_another:
        raise StoreError(
            f"{root} cannot be a store: its server replaces an object whatever it is (it does not heed If-Match), so "
            "that a runner which was cut off could overwrite what its successor wrote"
        )


def _list(root: ObjectPath) -> Any:
    bucket, _, key = root.key.partition("/")
    with os_errors(root):
        return impatient().call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)


def _reason(root: ObjectPath, error: OSError) -> str:
    bucket = root.key.partition("/")[0]
    status = http_status(error)
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no bucket {bucket} ({root})"
    if status == HTTPStatus.FORBIDDEN:
        return f"these credentials may not list the bucket {bucket} ({root}): {error.strerror}"
    return f"the store {root} cannot be reached: {error.strerror}"
