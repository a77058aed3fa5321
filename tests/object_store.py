"""An S3-compatible server on this machine for tests: a real process, spoken to as any other."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4


class ObjectStore:
    """moto's server, with one bucket per :meth:`bucket` call."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = str(Path(__file__).with_name("moto_server.py"))
        command = [sys.executable, program, "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < end, "the object store does not start"
            time.sleep(0.02)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell a process of the server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "Xq7vTz1LwpE9",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def bucket(self) -> str:
        """Make a bucket (the environment must be set) and return the URI of a folder in it."""
        from nnray.store.files.bucket import filesystem

        name = f"bucket-{uuid4().hex[:12]}"
        filesystem().mkdir(name)
        return f"s3://{name}/some/folder"

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server take connections and answer nothing until the end of the block."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


class Proxy:
    """Stands between a client and an object store, and can be out of order.

    Attributes:
        down: Whether connections are cut.
        deaf: A condition under which an object is put, and which gets lost on the way: ``If-None-Match``, ``If-Match``.
        deaf_in: The requests in which it gets lost: those that have this in them.
        refused: How many connections were cut.
    """

    def __init__(self, server: ObjectStore) -> None:
        self.down, self.refused = False, 0
        self.deaf: str | None = None
        self.deaf_in = ""
        self._server = server
        self._port = 0
        self._listen()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell a process to go through here."""
        return self._server.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}"}

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Cut all connections and refuse new ones until the end of the block."""
        self._listening.shutdown(socket.SHUT_RDWR)  # a close alone would not wake who accepts
        self._listening.close()
        self.down = True
        try:
            yield
        finally:
            self.down = False
            self._listen()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()

    def _listen(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server.port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source, target, contextlib.ExitStack() as stack:
            for end in (source, target):  # closing alone would not wake the thread that reads the other way
                stack.callback(_shut_down, end)
            with contextlib.suppress(OSError):
                self._pass_all_on(source, target)

    def _pass_all_on(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(1 << 16):
            if self.down:
                self.refused += 1
                return
            if self.deaf is not None and self.deaf_in.encode() in data:
                header = self.deaf.encode()
                data = data.replace(header, b"X-" + header[2:])
            target.sendall(data)


def _shut_down(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side has done so
        end.shutdown(socket.SHUT_RDWR)
