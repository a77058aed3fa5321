"""Processes that contend for claims, each of which can be told what to do, killed, stopped and given another clock."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

LEASE_S = 1.0
"""How long a lease lasts in tests; it is renewed five times in that time."""
OBJECTS_GRAIN_S = 1.0


def shorten_leases(grain_s: float = 0.0) -> None:
    """Let leases of this process last for ``LEASE_S``, in a store that tells times as precisely as that."""
    from nnray.store.claim import lease

    lease.EXPIRES_S, lease.RENEW_S, lease.MARGIN_S = LEASE_S, LEASE_S / 5, LEASE_S / 5
    lease.GRAIN_S = grain_s


def forbid_links_and_locks() -> None:
    """Let this process meet a file system that has neither hard links nor locks, as FAT has none of the one and many of
    those in user space have none of the other.
    """
    import fcntl

    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    os.link = fcntl.flock = refuse  # type: ignore[assignment]


def set_clock(ahead_s: float) -> None:
    """Let this process's clocks, that of the day and that of elapsed time, be ahead of others by so many seconds."""
    for name in ("time", "monotonic"):
        real = getattr(time, name)
        setattr(time, name, lambda real=real: real() + ahead_s)
    real_clock = time.clock_gettime
    time.clock_gettime = lambda number: real_clock(number) + ahead_s  # type: ignore[assignment]


class Contender:
    """A process with a claim of its own to take."""

    def __init__(self, context: BaseContext, path: Path, *prepare: Callable[[], None]) -> None:
        self._pipe, theirs = context.Pipe()  # type: ignore[attr-defined]
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self._process = context.Process(target=_contend, args=(theirs, path, environment, prepare), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()

    def tell(self, *command: Any) -> None:
        """Let it do something and don't wait for what comes of it."""
        self._pipe.send(command)

    def answer(self) -> Any:
        """Return what came of it."""
        assert self._pipe.poll(60), "a contender hangs"
        return self._pipe.recv()

    def ask(self, *command: Any) -> Any:
        """Let it do something and return what came of it."""
        self.tell(*command)
        return self.answer()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """End it, in whatever state it is."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self._process.join()


def _contend(
    pipe: Connection, path: Path, environment: dict[str, str], prepare: tuple[Callable[[], None], ...]
) -> None:
    from nnray.store.claim import Claim, ClaimLostError, claim_owner, exclusive, is_claimed
    from nnray.store.files import create, is_object, write_text

    os.environ.update(environment)
    shorten_leases(OBJECTS_GRAIN_S if is_object(path) else 0.0)
    for change in prepare:
        change()
    claim: Claim | None = None
    while True:
        try:
            command, *arguments = pipe.recv()
        except EOFError:
            return
        result: Any = None
        if command == "acquire":
            claim = Claim.acquire(path)
            result = claim is not None
        elif command == "acquire at":  # together with others
            while time.time_ns() < arguments[0]:
                pass
            claim = Claim.acquire(path)
            result = claim is not None
        elif command == "is_claimed":
            result = is_claimed(path)
        elif command == "owner":
            result = claim_owner(path), claim.owner if claim else None
        elif command == "check":
            assert claim is not None
            try:
                claim.check()
                result = "held"
            except ClaimLostError as error:
                result = str(error)
        elif command == "release":
            assert claim is not None
            claim.release()
        elif command == "compute":  # in C, where no other thread of the process runs meanwhile
            ctypes.PyDLL(None).usleep(int(arguments[0] * 1e6))
        elif command == "count":
            for _ in range(arguments[1]):
                with exclusive(path):
                    number = int(arguments[0].read_text())
                    time.sleep(0.002)
                    write_text(arguments[0], str(number + 1))
        elif command == "create":
            result = sum(create(arguments[0] / f"{number}", str(os.getpid()).encode()) for number in range(20))
        elif command == "replace":
            for number in range(arguments[1]):
                write_text(arguments[0], "\n".join([str(number)] * 2000))
        pipe.send(result)
