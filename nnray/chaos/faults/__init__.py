"""What can go wrong: a class per kind of fault."""

from __future__ import annotations

from nnray.chaos.faults.books import BookkeeperKilled, MlflowDown
from nnray.chaos.faults.damage import Flipped, Truncated
from nnray.chaos.faults.disk import DiskFull, ReadOnly
from nnray.chaos.faults.fault import Fault
from nnray.chaos.faults.kills import Refused, RunnerKilled, RunnerPaused, Slow, WriteKilled
from nnray.chaos.faults.on_ray import DriverKilled, NodeLost, WorkerKilled

__all__ = ["FAULTS", "Fault"]

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        RunnerKilled(),
        WriteKilled(),
        RunnerPaused(),
        BookkeeperKilled(),
        MlflowDown(),
        DiskFull(),
        ReadOnly(),
        Refused(),
        Slow(),
        Truncated(),
        Flipped(),
        WorkerKilled(),
        DriverKilled(),
        NodeLost(),
    )
}
"""Every fault by its name."""
