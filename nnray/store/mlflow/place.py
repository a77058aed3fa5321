"""Where runs are mirrored to: a tracking URI, which may carry a password that nobody is to see."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from nnray.errors import StoreError
from nnray.redaction import MASK, masked_text
from nnray.store.files import is_object
from nnray.trial.paths import StorePaths

_MAX_REASON = 200


@dataclass(frozen=True)
class Place:
    """An MLflow tracking URI, as seen from a store.

    Attributes:
        uri: The URI as it is given to MLflow's client, with its password if it has one.
        is_own: Whether it is the store's own SQLite database.
        is_off: Whether nothing is mirrored: a bucket cannot hold a database, and no server is named.
    """

    uri: str
    is_own: bool = False
    is_off: bool = False

    @classmethod
    def of(cls, store: StorePaths, uri: str | None) -> Place:
        """Return the place that ``uri`` names, by default the store's own database."""
        own = f"sqlite:///{store.mlflow_database}"
        is_own = uri in (None, "", own)
        return cls(uri or own, is_own, is_own and is_object(store.root))

    @cached_property
    def shown(self) -> str:
        """The URI without user, password and tokens: the one form that is printed or written anywhere."""
        scheme, mark, rest = self.uri.partition("://")
        return masked_text(scheme + mark + rest.removeprefix(f"{self._credentials}@"))

    @cached_property
    def folder_name(self) -> str:
        """A name for what the store keeps of this place; other credentials make no other place."""
        if self.is_own:
            return "own"
        readable = re.sub(r"[^\w.-]+", "_", self.shown)[:80].strip("._")
        return f"{readable}-{hashlib.sha256(self.shown.encode()).hexdigest()[:8]}"

    def reason(self, error: BaseException) -> str:
        """Return what went wrong in one line, without credentials and without the layers of MLflow's client."""
        root = error
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        if self.is_own or root is error:
            return one_line(error, self._without_secrets)
        if isinstance(root, OSError):
            return f"{self.shown} cannot be reached: {root.strerror or one_line(root, self._without_secrets)}"
        return f"{self.shown}: {one_line(root, self._without_secrets)}"

    def _without_secrets(self, text: str) -> str:
        text = text.replace(self.uri, self.shown)
        password = self._credentials.partition(":")[2]
        for secret in (self._credentials, unquote(self._credentials), password, unquote(password)):
            text = text.replace(secret, MASK) if secret else text
        return text

    @cached_property
    def _credentials(self) -> str:
        """User and password; an unquoted password may hold an @ or a /, so the host is what follows the last @."""
        address = self.uri.partition("://")[2].partition("?")[0]
        authority = address.partition("/")[0]
        port = authority.rpartition(":")[2] if ":" in authority else ""
        has_credentials = "@" in authority or (port and not port.isdecimal())
        return address.rpartition("@")[0] if has_credentials else ""


def one_line(error: BaseException, clean: Callable[[str], str] = str) -> str:
    """Return what went wrong as a line for people, its text passed through ``clean``."""
    text = masked_text(" ".join(clean(str(error)).split()))
    if isinstance(error, StoreError) and text:
        return text
    text = text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 1]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
