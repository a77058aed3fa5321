"""moto's server, taught what it lacks of S3: `If-Match` where an upload in parts is completed.

Amazon documents it for CompleteMultipartUpload; moto 5.2 heeds `If-None-Match` alone there.
"""

from __future__ import annotations

from typing import Any

from moto.s3.exceptions import MissingKey, PreconditionFailed
from moto.s3.responses import S3Response
from moto.server import main

_answer = S3Response._key_response_post


def _heeding(self: Any, request: Any, body: bytes, bucket_name: str, query: dict[str, Any], key_name: str) -> Any:
    expected = request.headers.get("If-Match")
    if expected is not None and "uploadId" in query:
        there = self.backend.get_object(bucket_name, key_name)
        if there is None:
            raise MissingKey
        put_by = there.multipart.id if there.multipart else None
        if there.etag.strip('"') != expected.strip('"') and put_by != query["uploadId"][0]:
            raise PreconditionFailed("If-Match")
    return _answer(self, request, body, bucket_name, query, key_name)


S3Response._key_response_post = _heeding  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
