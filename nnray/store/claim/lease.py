"""Claims as leases that their holders renew, where there are no locks: on object stores, and on some file systems.

The claim at ``claim.lock`` is the folder ``claim.lock.leases``, with a file per generation: ``000003.json``. To take a
claim is to create the file of the next generation, which of many takers only one can (Gray and Cheriton 1989, "Leases:
an efficient fault-tolerant mechanism for distributed file cache consistency"; the generation is what Chubby calls a
sequencer). The file of the highest generation is the one that counts. Its holder rewrites it every few seconds; when it
has not changed for ``EXPIRES_S``, the next generation may be taken.

How old a lease is, is told by the store's own clock: when the file was written last against what time it is there now.
The holder for its part counts from before it asked for a renewal, by its host's clock of elapsed time. So it knows that
its lease may have run out before anybody else can; it must then win the next generation as anybody else would. Two
hosts' clocks are never compared, and no check relies on having seen another one's file: on NFS that can be a minute
late.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.claim.kind import ClaimKind, ClaimLostError, Holding
from nnray.store.files import create, modified, remove_tree, store_clock, write_text
from nnray.store.json_files import read_json

EXPIRES_S = 30.0
"""Seconds after which a lease that was not renewed is free. All hosts of a store must agree on it."""
RENEW_S = 5.0
"""Seconds from one renewal to the next."""
MARGIN_S = 5.0
"""Seconds before its lease runs out from which on a holder renews it before it writes anything."""
GRAIN_S = 2.0
"""The coarsest step in which a store tells when a file was written: FAT's; an object store tells whole seconds."""

_FOLDER_SUFFIX = ".leases"
_ASK_AGAIN_S = 0.05
_CLOCK_HOLDS_S = 60.0
"""How long the difference between the store's clock and this host's is taken to stay what it was."""

_logger = logging.getLogger(__name__)


class Leases(ClaimKind):
    """Claims that run out unless they are renewed."""

    def acquire(self, path: Path, owner: str) -> Holding | None:
        """Create the file of the next generation, if the one before has run out."""
        folder = _folder(path)
        try:
            folder.mkdir(exist_ok=True)
            before = _newest(folder)
            if before is not None and before.is_held():
                return None
            lease = _HeldLease(path, owner, (before.generation if before else 0) + 1)
            return lease if lease.take() else None
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise StoreError(f"the claim {path} cannot be written: {error.strerror}") from error

    def is_claimed(self, path: Path) -> bool:
        """Look at the file of the highest generation."""
        newest = _newest(_folder(path))
        return newest is not None and newest.is_held()

    def owner(self, path: Path) -> str | None:
        """Return what the file of the highest generation says."""
        newest = _newest(_folder(path))
        return newest.owner if newest is not None else None

    @contextmanager
    def exclusive(self, path: Path) -> Iterator[None]:
        """Ask again and again until the claim is free."""
        while (lease := self.acquire(path, "")) is None:
            time.sleep(_ASK_AGAIN_S)
        try:
            yield
        finally:
            lease.release()

    def listed(self, folder: Path, suffix: str) -> Iterator[Path]:
        """Yield what has a folder of generations."""
        for leases in sorted(folder.glob(f"*{suffix}{_FOLDER_SUFFIX}")):
            yield leases.with_name(leases.name.removesuffix(_FOLDER_SUFFIX))

    def forget(self, path: Path) -> None:
        """Remove the folder of generations."""
        remove_tree(_folder(path))


@dataclass(frozen=True)
class _Lease:
    """What the file of a generation says."""

    generation: int
    owner: str
    released: bool
    written: float
    folder: Path

    def is_held(self) -> bool:
        return not self.released and _clock.now(self.folder) - self.written <= EXPIRES_S + GRAIN_S


class _HeldLease(Holding):
    """A lease of this process, kept up by a thread."""

    def __init__(self, path: Path, owner: str, generation: int) -> None:
        self._folder = _folder(path)
        self._owner = owner
        self._generation = generation
        self._until = 0.0
        self._lost = False
        self._changing = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="nnray-lease", daemon=True)

    def take(self) -> bool:
        """Try to be the holder of the generation; the thread runs if that succeeds."""
        if not self._won(self._generation):
            return False
        self._thread.start()
        return True

    def check(self) -> None:
        with self._changing:
            if not self._lost and _highest(self._folder) != self._generation:
                self._lost = True
            while not self._lost and _elapsed() > self._until - MARGIN_S:
                self._renew()
            if self._lost or self._ended.is_set():
                raise ClaimLostError(f"the lease {self._file()} is no longer this process's")

    def moved(self, path: Path) -> None:
        with self._changing:
            self._folder = _folder(path)

    def release(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        with self._changing, contextlib.suppress(OSError):  # it runs out by itself
            if not self._lost and _highest(self._folder) == self._generation:
                write_text(self._file(), self._text(released=True))

    def _keep_up(self) -> None:
        problem = None
        while not self._ended.wait(RENEW_S) and not self._lost:
            try:
                with self._changing:
                    if not self._ended.is_set():
                        self._renew()
                problem = None
            except OSError as error:  # the store is away for a moment, or for longer than the lease
                if problem is None:
                    problem = error
                    _logger.warning("nnray: the lease %s could not be renewed: %s", self._file(), error)

    def _renew(self) -> None:
        """Make the lease last for ``EXPIRES_S`` from now; note that it is lost if somebody else has taken over."""
        now = _elapsed()
        if _highest(self._folder) != self._generation:
            self._lost = True
        elif now <= self._until:
            write_text(self._file(), self._text())
            self._until = now + EXPIRES_S
        elif self._won(self._generation + 1):  # another one may be about to take over, unseen
            self._generation += 1
        else:
            self._lost = True

    def _won(self, generation: int) -> bool:
        """Create the file of ``generation``, unless somebody else has, and remove those that came before."""
        now, file = _elapsed(), _file(self._folder, generation)
        if not create(file, self._text().encode()):
            return False
        generations = _generations(self._folder)
        if max(generations, default=0) > generation:  # of a slow taker: the file had come and gone before
            file.unlink(missing_ok=True)
            return False
        self._until = now + EXPIRES_S
        for former in generations:
            if former < generation:
                _file(self._folder, former).unlink(missing_ok=True)
        return True

    def _file(self) -> Path:
        return _file(self._folder, self._generation)

    def _text(self, released: bool = False) -> str:
        return json.dumps({"owner": self._owner, "released": released}) + "\n"


class _StoreClocks:
    """What time it is by the clocks of stores, asked for now and then."""

    def __init__(self) -> None:
        self._ahead: dict[object, tuple[float, float]] = {}

    def now(self, folder: Path) -> float:
        """Return the time at which ``folder`` is kept, or a bit less: never more."""
        key = _device(folder)
        ahead, asked = self._ahead.get(key, (0.0, -math.inf))
        if _elapsed() - asked >= _CLOCK_HOLDS_S:
            try:
                time_there = store_clock(folder)
            except OSError:  # who may only read can take nothing over: the guess is good enough to be told
                return time.time()
            asked = _elapsed()
            ahead = time_there - asked
            self._ahead[key] = ahead, asked
        return _elapsed() + ahead


_clock = _StoreClocks()


def _device(folder: Path) -> object:
    """Return what all files have in common that are kept by the same clock."""
    try:
        return folder.stat().st_dev
    except (OSError, AttributeError):  # an object
        return type(folder)


def _elapsed() -> float:
    """Return seconds by a clock that nobody sets, and that goes on while the host sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _folder(path: Path) -> Path:
    return path.with_name(path.name + _FOLDER_SUFFIX)


def _file(folder: Path, generation: int) -> Path:
    return folder / f"{generation:06d}.json"


def _generations(folder: Path) -> list[int]:
    try:
        names = [path.name.removesuffix(".json") for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name) for name in names if name.isdecimal()]


def _highest(folder: Path) -> int:
    return max(_generations(folder), default=0)


def _newest(folder: Path) -> _Lease | None:
    """Return the lease that counts, None if there is none."""
    while (generation := _highest(folder)) > 0:
        file = _file(folder, generation)
        with contextlib.suppress(FileNotFoundError):  # the next generation was taken meanwhile
            written = modified(file)
            try:
                content = read_json(file)
                return _Lease(generation, str(content["owner"]), bool(content["released"]), written, folder)
            except (ValueError, KeyError, TypeError):  # just being written, where there are no hard links
                return _Lease(generation, "", False, written, folder)
    return None
