"""The file system of ``s3://`` that waits for a server which is away for a while, as a disk's does for a slow disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fsspec.asyn import sync_wrapper  # type: ignore[import-untyped]
from s3fs import S3FileSystem

from nnray.store.files.bucket import is_away, reason

_ASK_AGAIN_S = (0.1, 2.0)
"""First pause before a request is sent again, and the longest one."""

_logger = logging.getLogger(__name__)


class PatientS3(S3FileSystem):
    """Sends a request again and again that meets a lost connection, a time-out or an error of the server.

    Attributes:
        patience_s: Seconds after which it gives up and raises what it met.
        left_patience_s: The same for the absence that lasts.
    """

    patience_s = 0.0
    left_patience_s = 0.0
    _away = False

    def lose_patience(self) -> None:
        """Let all requests give up at once if the server is away, until it is back."""
        if self._away:
            self.left_patience_s = 0.0

    async def _call_s3(self, method: str, *arguments: Any, **named: Any) -> Any:
        return await self._patiently(super()._call_s3, method, *arguments, **named)

    call_s3 = sync_wrapper(_call_s3)  # the inherited one calls the inherited method

    async def _cat_file(self, path: str, **named: Any) -> Any:
        return await self._patiently(super()._cat_file, path, **named)  # the answer, too, may break off

    async def _get_file(self, rpath: str, lpath: str, **named: Any) -> Any:
        return await self._patiently(super()._get_file, rpath, lpath, **named)

    async def _patiently(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        begun, pause = time.monotonic(), _ASK_AGAIN_S[0]
        while True:
            try:
                answer = await call(*arguments, **named)
            except Exception as error:
                if not is_away(error):
                    raise
                self._tell_away(error)
                if time.monotonic() - begun >= self.left_patience_s:
                    self.lose_patience()  # what is done in the end, and fails as well, takes no more time
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, _ASK_AGAIN_S[1])
            else:
                self._tell_back()
                return answer

    def _tell_away(self, error: Exception) -> None:
        if not self._away and self.patience_s:
            self._away = True
            text = "nnray: the object store is away, waiting %g s at most: %s"
            _logger.warning(text, self.patience_s, reason(error))

    def _tell_back(self) -> None:
        if self._away:
            self._away, self.left_patience_s = False, self.patience_s
            _logger.warning("nnray: the object store is back")
