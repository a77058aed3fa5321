"""Commands that are killed, in the process of which trials are trained."""

from __future__ import annotations

import errno
import signal

from nnray.chaos.faults.fault import Fault
from nnray.chaos.file_operations import Meddling
from nnray.chaos.launcher import end, session
from nnray.chaos.stage import Stage

_IN_A_ROW = (1, 1, 2, 3)
"""So many times a command is killed and started again, one of these."""
_LARGEST_FILE = 20_000
_SOON_OVER = 10
"""Refusals of file operations."""


class RunnerKilled(Fault):
    """SIGKILL of the command, or of all its processes, at any time; sometimes another command works on beside it."""

    name = "runner"
    about = "SIGKILL of a process that trains, at a random moment"
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Kill it, perhaps several times in a row."""
        for _ in range(stage.random.choice(_IN_A_ROW)):
            beside = stage.sweep() if stage.random.random() < 0.2 else None
            alone = stage.random.random() < 0.5
            command = stage.sweep()
            moment = stage.reach_moment(command)
            if command.status is not None:
                stage.note(f"ended before it could be killed {moment}")
                continue
            command.kill() if alone else command.kill_session()
            what = "command" if alone else "command and its bookkeeper"
            stage.note(f"SIGKILL of the {what} {moment}{', another beside it' if beside else ''}", kills=1)


class WriteKilled(Fault):
    """SIGKILL in the midst of the work on files: before one of the operations, or within a write."""

    name = "write"
    about = "SIGKILL at a random file operation, or in the middle of a write"

    def strike(self, stage: Stage) -> None:
        """Kill it, perhaps several times in a row, each time a bit further on."""
        random, operations = stage.random, stage.study.operations
        for _ in range(random.choice(_IN_A_ROW)):
            at = random.randrange(1 + int(len(operations) * stage.share_left()))
            if random.random() < 0.5:
                meddling = Meddling(stage.store.root, "kill", at)
                what = "SIGKILL"
            else:
                size = int(_LARGEST_FILE ** random.random())
                meddling = Meddling(stage.store.root, "tear", at, size)
                what = f"killed at a write beyond {size} bytes"
            journal = stage.folder / f"{len(stage.commands)}-operations.txt"
            command = stage.sweep(meddling=Meddling(**{**vars(meddling), "journal": journal}))
            status = stage.end_of(command)
            done = journal.read_text().splitlines() if journal.exists() else []
            if status is not None and status < 0:
                last = done[-1].partition(" ")[2] if done else "none"
                stage.note(f"{what} from operation {at} on, the last one: {last}", kills=1)
            else:
                stage.note(f"ended before it could be killed at operation {at}")


class RunnerPaused(Fault):
    """SIGSTOP of a command for a while, with another one at work: it is slow, and not dead."""

    name = "pause"
    about = "SIGSTOP of a process that trains while another command goes on, then SIGCONT"
    in_buckets = True

    def strike(self, stage: Stage) -> None:
        """Stop it, start another one, and let it go on."""
        pause = stage.random.uniform(0.2, 2.0)
        command = stage.sweep()
        moment = stage.reach_moment(command)
        stopped = [pid for pid in session(command.pid) if end(pid, signal.SIGSTOP)]
        other = stage.sweep()
        other.wait(pause)
        for pid in stopped:
            end(pid, signal.SIGCONT)
        stage.note(f"SIGSTOP of {len(stopped)} processes {moment} for {pause:.2f} s")
        stage.end_of(other)
        stage.end_of(command)


class Slow(Fault):
    """A file system that takes its time: every operation of a command is delayed, with another one at work."""

    name = "slow"
    about = "every file operation of a process that trains takes milliseconds"

    def strike(self, stage: Stage) -> None:
        """Run a slow command and an ordinary one at once."""
        milliseconds = stage.random.randint(2, 30)
        slow = stage.sweep(meddling=Meddling(stage.store.root, "delay", amount=milliseconds))
        stage.reach_moment(slow)
        other = stage.sweep()
        stage.note(f"{milliseconds} ms per file operation, another command beside it")
        stage.end_of(other)
        stage.end_of(slow)


class Refused(Fault):
    """The operating system answers a few of the file operations with an error."""

    name = "refuse"
    about = "a few file operations of a process that trains fail (EIO, ENOSPC, EROFS, EDQUOT)"
    fails_trials = True

    def strike(self, stage: Stage) -> None:
        """Run a command with bad luck."""
        random = stage.random
        code = random.choice((errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT))
        at, count = random.randrange(len(stage.study.operations)), random.choice((1, 2, 10, 1000))
        command = stage.sweep(meddling=Meddling(stage.store.root, "refuse", at, count, code))
        if count > _SOON_OVER:  # who waits for room looks for it every two seconds
            stage.end_or_wait_for_room(command)
            command.interrupt()
        stage.end_of(command)
        stage.note(f"{errno.errorcode[code]} at {count} file operations from {at} on", kills=1)
