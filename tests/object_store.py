"""An S3-compatible server on this machine for tests: a real process, spoken to as any other."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from uuid import uuid4


class ObjectStore:
    """moto's server, with one bucket per :meth:`bucket` call."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
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
            "AWS_SECRET_ACCESS_KEY": "secret",
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
