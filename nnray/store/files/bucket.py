"""The connection to an object store, one for all threads of a process, and what its errors mean."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import Any

PATIENCE_S = 600.0
"""So long is a request sent again that meets a lost connection or an error of the server; as long as a full disk."""
_CONNECT_S = 5
_ANSWER_S = 20


def filesystem() -> Any:
    """Return the file system of ``s3://``, which waits for a server that is away.

    Credentials, region and endpoint come from where AWS's tools look for them: ``AWS_*`` variables and ``~/.aws``.
    """
    return _connected(os.getpid(), PATIENCE_S)


def impatient() -> Any:
    """Return a connection that gives up at once, for the first look at a store: a typing error should not take long."""
    return _connected(os.getpid(), 0.0)


@cache
def _connected(process: int, patience_s: float) -> Any:
    """A forked process (``process`` tells it) must not share its parent's connections.

    Listings are never cached: other processes write to the same store.
    """
    from nnray.store.files.patient_s3 import PatientS3

    result = PatientS3(
        use_listings_cache=False,
        skip_instance_cache=True,
        default_cache_type="none",
        config_kwargs={
            "connect_timeout": _CONNECT_S,
            "read_timeout": _ANSWER_S,
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    result.retries = 1  # s3fs's own
    result.patience_s = result.left_patience_s = patience_s
    return result


def is_away(error: BaseException) -> bool:
    """Tell whether ``error`` may be over in a while: a lost connection, a time-out, an error of the server."""
    from botocore.exceptions import ConnectionError as NotConnectedError
    from botocore.exceptions import HTTPClientError

    status = http_status(error) or 0
    if isinstance(error, (TimeoutError, NotConnectedError, HTTPClientError, *_broken_off())):
        return True
    return status == HTTPStatus.TOO_MANY_REQUESTS or (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
    )


def _broken_off() -> tuple[type[Exception], ...]:
    """Return what an answer raises whose rest does not come."""
    from s3fs.core import S3_RETRYABLE_ERRORS

    return tuple(S3_RETRYABLE_ERRORS)


@contextmanager
def os_errors(path: object) -> Iterator[None]:
    """Turn every error of the object store into an OSError that names ``path``, of the class a disk would raise.

    What may be over in a moment (a lost connection, a time-out, an error of the server) is a ConnectionError: the file
    may well be there, and whole.
    """
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    try:
        yield
    except KeyboardInterrupt:
        filesystem().lose_patience()  # whoever wants to leave waits for nothing any more
        raise
    except NoCredentialsError as error:
        raise PermissionError(errno.EACCES, "no AWS credentials were found", str(path)) from error
    except (OSError, BotoCoreError, *_broken_off()) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        text = reason(error)
        if is_away(error):
            raise ConnectionError(errno.ECONNABORTED, text, str(path)) from error
        number = getattr(error, "errno", None) or getattr(errno, _NUMBERS.get(type(error).__name__, "EIO"))
        raise OSError(number, text, str(path)) from error  # the number chooses the class


def reason(error: BaseException) -> str:
    """Return one line about what an object store, or the way to it, had to say; of requests without their options."""
    return " ".join(_OPTIONS.sub("", getattr(error, "strerror", None) or str(error)).split())


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status that ``error``, or what it was raised from, came with; None if there was none."""
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, dict):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return int(status) if status else None
        error = error.__cause__
    return None


_OPTIONS = re.compile(r"\?[^\s\"']*")
_NUMBERS = {
    "FileNotFoundError": "ENOENT",
    "PermissionError": "EACCES",
    "FileExistsError": "EEXIST",
}
