"""Errors that are said once, by the exception."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

_LOGGERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@contextmanager
def errors_said_once() -> Iterator[None]:
    """Keep PyTorch from logging, and torch.export from printing, what the exception that they raise says anyway."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    printed = io.StringIO()
    for logger in loggers:
        logger.disabled = True
    try:
        with redirect_stderr(printed):
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
    sys.stderr.write(printed.getvalue())  # without an error, it was the module's own
