"""Large objects are put in parts; with the last request they appear as a whole, under a condition."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

from nnray.store.files.bucket import filesystem, http_status, os_errors
from nnray.store.files.object_path import ObjectPath
from nnray.store.files.scratch import scratch_file

PART = 16 << 20
"""Bytes of a part; S3 wants at least 5 MiB, but for the last one."""
_MOST_PARTS = 10_000
_AT_A_TIME = 4
NOBODYS = '"00000000000000000000000000000000"'
"""The ETag of no object."""

_heeded: dict[tuple[int, str, str], bool] = {}


def put_in_parts(path: ObjectPath, local: Path, metadata: Mapping[str, str], **condition: str) -> None:
    """Put what lies at ``local``; raise OSError if ``condition`` does not hold when all of it has arrived.

    Parts that a killed process leaves are no object; a rule of the bucket (AbortIncompleteMultipartUpload) clears them.
    """
    size = local.stat().st_size
    part = max(PART, math.ceil(size / _MOST_PARTS))
    place = path.place
    with os_errors(path):
        begun = filesystem().call_s3("create_multipart_upload", **place, Metadata=dict(metadata))
    upload = {**place, "UploadId": begun["UploadId"]}

    def send(number: int) -> dict[str, Any]:
        with local.open("rb") as file:
            file.seek((number - 1) * part)
            content = file.read(part)
        with os_errors(path):
            answer = filesystem().call_s3("upload_part", **upload, PartNumber=number, Body=content)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            parts = list(pool.map(send, range(1, math.ceil(size / part) + 1)))
        with os_errors(path):
            filesystem().call_s3("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        with contextlib.suppress(OSError), os_errors(path):
            filesystem().call_s3("abort_multipart_upload", **upload)
        raise


def heeds_conditions_of_parts(path: ObjectPath, condition: str) -> bool:
    """Tell whether the server heeds ``condition`` (``IfMatch``, ``IfNoneMatch``) where an object is put in parts.

    Not every server does that heeds it in one request. A process tries it once, with a small object beside ``path``.
    """
    key = (os.getpid(), path.place["Bucket"], condition)
    if key not in _heeded:
        _heeded[key] = _refuses(path.with_name(f".probe-{uuid4().hex}"), condition)
    return _heeded[key]


def _refuses(probe: ObjectPath, condition: str) -> bool:
    """Put an object, and try to replace it under a condition that does not hold."""
    probe.write_bytes(b"first")
    try:
        with scratch_file() as second:
            second.write_bytes(b"second")
            put_in_parts(probe, second, {}, **{condition: "*" if condition == "IfNoneMatch" else NOBODYS})
    except OSError as error:
        if http_status(error) != HTTPStatus.PRECONDITION_FAILED:
            raise
        return True
    finally:
        probe.unlink(missing_ok=True)
    return False
