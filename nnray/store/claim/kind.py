"""What every way to claim something promises, whatever the store lies on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from nnray.errors import StoreError


class ClaimLostError(StoreError):
    """Somebody else has taken over what this process had claimed: it may write no more."""


class Holding(ABC):
    """Something that this process holds, from :meth:`ClaimKind.acquire` until :meth:`release` or the process's end."""

    @abstractmethod
    def check(self) -> None:
        """Return if nobody else can have taken over; raise ClaimLostError otherwise.

        To be called right before everything that only the holder may write (Kleppmann 2016, "How to do distributed
        locking", calls this fencing). A holder that was cut off for longer than its claim lasts learns here that it
        was.
        """

    @abstractmethod
    def moved(self, path: Path) -> None:
        """Take note that the folder in which the claim lies was renamed, so that the claim is at ``path`` now."""

    @abstractmethod
    def release(self) -> None:
        """Let go; a second call does nothing."""


class ClaimKind(ABC):
    """A way to claim things by their paths. The file at a path belongs to the claim and says nothing else.

    Of all processes that try to :meth:`acquire` the same path, on whatever host, at most one holds it at any time. A
    holder that dies loses it without anybody's help; one that is slow does not. No two hosts need agree on the time.
    """

    @abstractmethod
    def acquire(self, path: Path, owner: str) -> Holding | None:
        """Return the claim at ``path``, or None if another process holds it. The folder of ``path`` must exist.

        Raises:
            StoreError: If the claim cannot be written, or the file system lacks what is needed.
            FileNotFoundError: If there is no such folder.
        """

    @abstractmethod
    def is_claimed(self, path: Path) -> bool:
        """Tell whether a living process holds the claim at ``path``; to ask, it is enough to be allowed to read."""

    @abstractmethod
    def owner(self, path: Path) -> str | None:
        """Return the ``owner`` of who holds the claim at ``path``, or held it last; None if there is no claim."""

    @abstractmethod
    def exclusive(self, path: Path) -> AbstractContextManager[None]:
        """Wait for the claim at ``path`` and hold it: for short work that two processes must not do at once."""

    @abstractmethod
    def listed(self, folder: Path, suffix: str) -> Iterator[Path]:
        """Yield the paths in ``folder`` that end in ``suffix`` and have a claim, held or not."""

    @abstractmethod
    def forget(self, path: Path) -> None:
        """Remove what is left of a claim that nobody holds or that this process holds."""
