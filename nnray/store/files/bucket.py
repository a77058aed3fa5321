"""The connection to an object store, one for all threads of a process, and what its errors mean."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import Any

_CONNECT_S = 5
_ANSWER_S = 30
_TRIES = 4
"""So often is a request sent that meets a lost connection or an error of the server (500, 503), over some seconds."""


def filesystem() -> Any:
    """Return the file system of ``s3://``.

    Credentials, region and endpoint come from where AWS's tools look for them: ``AWS_*`` variables and ``~/.aws``.
    """
    return _connected(os.getpid(), _TRIES)


def impatient() -> Any:
    """Return a connection that gives up at once, for the first look at a store: a typing error should not take long."""
    return _connected(os.getpid(), 1)


@cache
def _connected(process: int, tries: int) -> Any:
    """A forked process (``process`` tells it) must not share its parent's connections.

    Listings are never cached: other processes write to the same store.
    """
    from s3fs import S3FileSystem

    result = S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        default_cache_type="none",
        config_kwargs={
            "connect_timeout": _CONNECT_S,
            "read_timeout": _ANSWER_S,
            "retries": {"mode": "standard", "total_max_attempts": tries},
        },
    )
    result.retries = min(2, tries)  # s3fs's own, around botocore's: answers that break off in the middle
    return result


@contextmanager
def os_errors(path: object) -> Iterator[None]:
    """Turn every error of the object store into an OSError that names ``path``, of the class a disk would raise.

    What may be over in a moment (a lost connection, a time-out, an error of the server) is a ConnectionError: the file
    may well be there, and whole.
    """
    from botocore.exceptions import BotoCoreError, HTTPClientError, NoCredentialsError

    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        text = error.strerror or str(error)
        if isinstance(error, TimeoutError) or (http_status(error) or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ConnectionError(errno.ECONNABORTED, text, str(path)) from error
        number = error.errno or getattr(errno, _NUMBERS.get(type(error).__name__, "EIO"))
        raise OSError(number, text, str(path)) from error  # the number chooses the class
    except NoCredentialsError as error:
        raise PermissionError(errno.EACCES, "no AWS credentials were found", str(path)) from error
    except HTTPClientError as error:
        raise ConnectionError(errno.ECONNABORTED, str(error), str(path)) from error
    except BotoCoreError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status that ``error``, or what it was raised from, came with; None if there was none."""
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, dict):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return int(status) if status else None
        error = error.__cause__
    return None


_NUMBERS = {
    "FileNotFoundError": "ENOENT",
    "PermissionError": "EACCES",
    "FileExistsError": "EEXIST",
}
