"""Objects that are put under a condition, which the object store itself checks at the moment of the writing.

A request may be carried out and its answer be lost; sent again, it then meets what it has written itself. So each
object says, in its metadata, which request wrote it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import uuid4

from nnray.store.files.bucket import filesystem, http_status, os_errors
from nnray.store.files.object_path import ObjectPath

LARGEST = 100 << 20
"""Bytes of an object that is put by one request; larger ones go in parts, and may not be put under a condition."""
_CONFLICTS = 5
_WRITER = "nnray-writer"


def put_new(path: ObjectPath, data: bytes) -> bool:
    """Put an object unless there is one; return whether it was put."""
    return _put(path, data, IfNoneMatch="*")


def put_over(path: ObjectPath, data: bytes, tag: str | None) -> bool:
    """Replace the object whose ETag is ``tag`` (None: that is not there); return whether it was still that one."""
    return put_new(path, data) if tag is None else _put(path, data, IfMatch=tag)


def tag_of(path: ObjectPath) -> str | None:
    """Return the object's ETag, which changes with its content; None if there is no object."""
    head = _head(path)
    return None if head is None else head["ETag"]


def _put(path: ObjectPath, data: bytes, **condition: str) -> bool:
    writer = uuid4().hex
    for _ in range(_CONFLICTS):
        try:
            with os_errors(path):
                filesystem().call_s3("put_object", **_place(path), Body=data, Metadata={_WRITER: writer}, **condition)
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


def _head(path: ObjectPath) -> Any | None:
    try:
        with os_errors(path):
            return filesystem().call_s3("head_object", **_place(path))
    except FileNotFoundError:
        return None


def _place(path: ObjectPath) -> dict[str, str]:
    bucket, _, key = path.key.partition("/")
    return {"Bucket": bucket, "Key": key}
