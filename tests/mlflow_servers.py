"""Real MLflow servers for tests, a proxy in front of one that answers as it is told to, and PostgreSQL behind one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nnray.store.mlflow.schema import QUIET


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Server:
    """An ``mlflow server`` on loopback, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, backend: str, port: int | None = None) -> None:
        self._folder = folder
        self._backend = backend
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        words = [
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
            "--backend-store-uri",
            self._backend,
        ]
        words += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                cwd=self._folder,
                env=os.environ | QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while not self._answers():
            log_text = (self._folder / "server.log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"the server ended: {log_text}"
            assert time.monotonic() < deadline, f"the server does not answer: {log_text}"
            time.sleep(0.1)
        return self

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False


Fault = Callable[[str], tuple[int, str, str] | None]
"""Given a request's path: status, content type and body to answer with, or None to pass the request on."""


class Proxy:
    """Passes requests on to a server, except those that ``fault`` answers; ``delay_s`` is added to every one.

    With ``lose_answers`` requests are passed on, and their answers are lost: the connection ends without one.
    """

    def __init__(self, target: str) -> None:
        self.fault: Fault = lambda _: None
        self.lose_answers: Callable[[str], bool] = lambda _: False
        self.delay_s = 0.0
        self.requests: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                proxy.requests.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(proxy.delay_s)
                status, kind, answer = proxy._answer(self.command, self.path, dict(self.headers), body)
                if proxy.lose_answers(self.path):
                    self.close_connection = True
                    return
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:  # the client has lost its patience
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self._target = target
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if (faulty := self.fault(path)) is not None:
            return faulty[0], faulty[1], faulty[2].encode()
        passed = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        request = urllib.request.Request(self._target + path, body or None, passed, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get_content_type(), error.read()


POSTGRES_TOOLS = ("initdb", "pg_ctl", "postgres")
_ACCOUNT = "nobody"


def postgres_missing() -> str | None:
    """Return why no PostgreSQL can be started here, None if it can."""
    if missing := [tool for tool in POSTGRES_TOOLS if shutil.which(tool) is None]:
        return f"PostgreSQL is not installed: no {', '.join(missing)}"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            return f"there is no account {_ACCOUNT!r} to run PostgreSQL as"
        if shutil.which("runuser") is None:
            return "there is no runuser to run PostgreSQL as somebody else than root"
    return None


@contextmanager
def postgres(folder: Path, password: str) -> Iterator[str]:
    """Run a PostgreSQL on loopback while the block runs; yields the URI of an empty database, with the password."""
    port = free_port()
    data, secret = folder / "data", folder / "password"
    folder.mkdir(parents=True)
    secret.write_text(password)
    prefix: list[str] = []
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
        os.chown(secret, account.pw_uid, account.pw_gid)
        prefix = ["runuser", "-u", _ACCOUNT, "--"]
    tool = {name: str(shutil.which(name)) for name in POSTGRES_TOOLS}

    def run(*words: str) -> None:
        done = subprocess.run([*prefix, *words], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    login = ["-U", "me", "--auth", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--no-locale", "--no-sync"]
    run(tool["initdb"], "-D", str(data), *login)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k '' -c fsync=off"
    run(tool["pg_ctl"], "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "-t", "60", "start")
    try:
        yield f"postgresql+psycopg2://me:{password}@127.0.0.1:{port}/postgres"
    finally:
        run(tool["pg_ctl"], "-D", str(data), "-m", "immediate", "-w", "stop")
