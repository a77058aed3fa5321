"""What goes wrong with the books, while trials go on."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

from nnray.chaos.faults.fault import Fault
from nnray.chaos.launcher import end, session
from nnray.chaos.stage import TIMEOUT_S, Stage


class BookkeeperKilled(Fault):
    """SIGKILL of what a command has started beside itself."""

    name = "bookkeeper"
    about = "SIGKILL of the process that writes tables and MLflow"
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Kill it; the command must end all the same."""
        command = stage.sweep()
        moment = stage.reach_moment(command)
        killed = [pid for pid in session(command.pid) if pid != command.pid and end(pid, signal.SIGKILL)]
        stage.note(f"SIGKILL of {len(killed)} processes beside the command {moment}")
        stage.end_of(command)


class MlflowDown(Fault):
    """MLflow's database is locked by somebody else for the whole of a command, or goes away while one runs."""

    name = "mlflow"
    about = "MLflow's database is locked by another process, or removed"

    def strike(self, stage: Stage) -> None:
        """Lock it for one command, or remove it."""
        begun = stage.sweep()
        moment = stage.reach_moment(begun)
        database = stage.store.mlflow_database
        if stage.random.random() < 0.5 or not database.exists():
            database.unlink(missing_ok=True)
            stage.note(f"MLflow's database removed {moment}")
        else:
            with closing(sqlite3.connect(database, timeout=TIMEOUT_S, isolation_level=None)) as holder:
                holder.execute("BEGIN EXCLUSIVE")
                stage.note(f"MLflow's database locked {moment}, for a second")
                begun.wait(1.0)
        stage.end_of(begun)
