"""Objects that are put under a condition, which the object store itself checks at the moment of the writing.

A request may be carried out and its answer be lost; sent again, it then meets what it has written itself. So each
object says, in its metadata, which request wrote it.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

from nnray.store.files.bucket import filesystem, http_status, os_errors
from nnray.store.files.in_parts import heeds_conditions_of_parts, put_in_parts
from nnray.store.files.object_path import ObjectPath

LARGEST = 100 << 20
"""Bytes of a file that is put by one request; larger ones go in parts, if the server heeds conditions there, too."""
Content = bytes | Path
"""What to put, or the local file that holds it."""
_CONFLICTS = 5
_WRITER = "nnray-writer"


def put_new(path: ObjectPath, content: Content) -> bool:
    """Put an object unless there is one; return whether it was put."""
    return _put(path, content, IfNoneMatch="*")


def put_over(path: ObjectPath, content: Content, tag: str | None) -> bool:
    """Replace the object whose ETag is ``tag`` (None: that is not there); return whether it was still that one."""
    return put_new(path, content) if tag is None else _put(path, content, IfMatch=tag)


def tag_of(path: ObjectPath) -> str | None:
    """Return the object's ETag, which changes with its content; None if there is no object."""
    head = _head(path)
    return None if head is None else head["ETag"]


def _put(path: ObjectPath, content: Content, **condition: str) -> bool:
    writer = uuid4().hex
    for _ in range(_CONFLICTS):
        try:
            _send(path, content, {_WRITER: writer}, **condition)
        except OSError as error:
            status = http_status(error)
            if status == HTTPStatus.CONFLICT:  # another one is being answered just now: nothing is decided yet
                continue
            if status not in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND):
                raise
            head = _head(path)
            return head is not None and head["Metadata"].get(_WRITER) == writer
        return True
    return False


def _send(path: ObjectPath, content: Content, metadata: dict[str, str], **condition: str) -> None:
    if isinstance(content, Path):
        if content.stat().st_size > LARGEST and heeds_conditions_of_parts(path, *condition):
            put_in_parts(path, content, metadata, **condition)
            return
        content = content.read_bytes()
    with os_errors(path):
        filesystem().call_s3("put_object", **path.place, Body=content, Metadata=metadata, **condition)


def _head(path: ObjectPath) -> Any | None:
    try:
        with os_errors(path):
            return filesystem().call_s3("head_object", **path.place)
    except FileNotFoundError:
        return None
