"""An empty database as the installed MLflow makes it.

MLflow needs four seconds of processor time for that (imports and sixty migrations), so the file is kept in the user's
cache folder (``$XDG_CACHE_HOME/nnray``, else ``~/.cache/nnray``) under MLflow's version, and copied from then on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import replacing

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings under which MLflow neither calls home nor prints."""

_CREATE = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore("sqlite:///" + sys.argv[1], ".")
"""


def copy_empty_database(path: Path) -> None:
    """Write an MLflow database without runs to ``path``; raise StoreError if MLflow cannot make one."""
    cached = _cache_folder() / f"mlflow-{version('mlflow')}.db"
    try:
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cached) as beside:
                _create(beside)
        shutil.copyfile(cached, path)
    except OSError:  # no home, or none to write to
        path.unlink(missing_ok=True)
        _create(path)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "nnray"


def _create(path: Path) -> None:
    # In a process of its own, which leaves no trace of MLflow's logging, warnings and migrations in this one.
    made = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _CREATE, str(path)],
        env=os.environ | QUIET,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        last_line = (made.stderr.strip() or f"status {made.returncode}").splitlines()[-1]
        raise StoreError(f"MLflow could not make its database: {last_line}")
