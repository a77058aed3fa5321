"""One trial from start to end: claimed, recorded, isolated, trained; safe to be killed at every line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from nnray.errors import StoreError
from nnray.store.attempts import former_attempts
from nnray.store.claim import Claim, ClaimLostError
from nnray.store.files import Fence, append, remove_leftovers, spooled, write_text
from nnray.store.format import settle_format
from nnray.store.links import check_links
from nnray.store.metrics_log import Row, checked_rows, read_rows
from nnray.store.record import Record, now
from nnray.training.code import Code
from nnray.training.crash_report import crash_report
from nnray.training.data_parallel import ALONE, Team
from nnray.training.exploitation import carry_out_exploit, discard_exploit, in_effect
from nnray.training.failures import cause_of
from nnray.training.fitting import fit
from nnray.training.isolation import isolated, release_memory
from nnray.training.log_capture import captured
from nnray.training.loggers import Loggers
from nnray.training.provenance import kept_packages, library_versions
from nnray.training.requests import Pending, Requests
from nnray.training.resume import read_resume_state
from nnray.trial.config_file import with_checksum
from nnray.trial.configuration import Configuration
from nnray.trial.paths import TrialPaths

Outcome = Literal["completed", "stopped", "failed", "interrupted", "claimed"]


@dataclass(frozen=True)
class Run:
    """How a command wants its trials run.

    Attributes:
        code: The code that trains them.
        started: When the command started: a trial that failed since then is not tried again.
        echo: Whether what a trial prints appears on the terminal as well as in its log.
        progress: Whether to show a progress bar over the batches.
        command: The command as it was typed, without passwords.
        sweep: The sweep that trials are trained for; one that it lists no longer is interrupted.
        stop_request: A file whose appearance asks the whole command to stop.
        perturbed: Dotted keys that a scheduler changes while trials train; each epoch's row has their values.
        loggers: TensorBoard and the like, if they are wanted.
    """

    code: Code
    started: datetime
    echo: bool = False
    progress: bool = False
    command: str | None = None
    sweep: str | None = None
    stop_request: Path | None = None
    perturbed: tuple[str, ...] = ()
    loggers: Loggers | None = None


def run_trial(
    paths: TrialPaths,
    configuration: Configuration,
    run: Run,
    on_epoch: Callable[[Row], None] | None = None,
    team: Team = ALONE,
) -> Outcome:
    """Train the trial in ``paths`` if nobody else does and nobody has.

    Args:
        paths: The trial's folder, which exists and holds its configuration.
        configuration: The same configuration, resolved.
        run: How the command wants it run.
        on_epoch: Called with the row of metrics after each epoch; ends the trial early by raising StopTraining or
            InterruptTraining (:mod:`nnray.training.stopping`).
        team: The workers that train the trial together, of which this one leads; the others call :func:`assist_trial`.

    Returns:
        What became of the trial; ``interrupted`` if it is to be continued later, ``claimed`` if another process is
        training it.

    Raises:
        StoreError: If the trial's folder is damaged, or cannot be used.
    """
    check_links(paths)
    settle_format(paths.store.root)
    claim = Claim.acquire(paths.claim, sweep=run.sweep)
    if claim is None:
        return "claimed"
    with claim:
        try:
            try:
                return _run_claimed(claim, paths, configuration, run, on_epoch, team)
            except OSError:
                claim.check()  # as below: a successor clears away what this process was writing
                raise
        except ClaimLostError as error:  # this process was cut off for a while; its successor goes on with the trial
            line = f"nnray: process {os.getpid()} on {socket.gethostname()} leaves the trial: {error}\n"
            with contextlib.suppress(OSError):
                append(paths.log, line.encode())
            return "claimed"


def _run_claimed(
    claim: Claim,
    paths: TrialPaths,
    configuration: Configuration,
    run: Run,
    on_epoch: Callable[[Row], None] | None,
    team: Team,
) -> Outcome:
    """Train the trial; raise ClaimLostError, and write nothing from then on, if somebody else has taken over."""
    fence = claim.check
    keep_state = configuration.values["checkpoint"]["keep_state"]
    before = Record.read(paths.record) or Record(signature=configuration.full_signature)
    if before.status in ("completed", "stopped") or _failed_just_now(before, run):
        if before.status == "completed" and not keep_state:  # its runner may have been killed just before this
            paths.resume.unlink(missing_ok=True)
        return before.status  # type: ignore[return-value]
    text = with_checksum(configuration.yaml())
    if paths.config.read_bytes() != text.encode():  # it is damaged, or a key has changed that cannot change the result
        write_text(paths.config, text)
    remove_leftovers(paths.folder)
    remove_leftovers(paths.checkpoints)
    record = dataclasses.replace(
        before,
        status="running",
        error=None,
        traceback=None,
        cause=None,
        attempts=before.attempts + 1,
        former_attempts=former_attempts(before, paths),
        continued_from=before.continued_from if paths.resume.exists() else None,
        started=before.started or now(),
        ended=None,
        rows=None if before.rows is None and paths.metrics.exists() else 0,
        host=socket.gethostname(),
        versions=library_versions(),
        git_commit=run.code.commit,
        git_diff=run.code.diff,
        code=run.code.kept,
        packages=kept_packages(paths.store),
        command=run.command,
    )
    if record.history and not paths.resume.exists():  # it begins anew
        record = dataclasses.replace(record, history=[])
    record.write(paths.record, fence)
    try:
        record = carry_out_exploit(paths, record, fence)
    except StoreError as error:
        _failed(record, error, paths).write(paths.record, fence)
        raise
    requests = Requests(paths, claim.owner, run.sweep, run.stop_request)
    with crash_report(paths.crash):
        record = _trained(record, paths, configuration, run, on_epoch, requests, team, fence)
    release_memory()
    record.write(paths.record, fence)
    fence()
    paths.stop.unlink(missing_ok=True)
    if record.status == "completed" and not keep_state:
        paths.resume.unlink(missing_ok=True)
    if record.status in ("completed", "stopped"):
        discard_exploit(paths)
    return "interrupted" if record.status == "pending" else record.status  # type: ignore[return-value]


def settle_stopped(paths: TrialPaths) -> Outcome:
    """Record a trial that was interrupted as stopped: what there is, is its result.

    Returns:
        What its record says now; ``claimed`` if another process is training it, ``interrupted`` if nothing is there.
    """
    claim = Claim.acquire(paths.claim)
    if claim is None:
        return "claimed"
    with claim:
        record = Record.read(paths.record)
        rows = read_rows(paths.metrics)
        if record is None or not rows:
            return "interrupted"
        if record.status in ("pending", "running"):
            count = None if record.rows is None else len(rows)
            record = dataclasses.replace(record, status="stopped", ended=now(), rows=count)
            record.write(paths.record)
            discard_exploit(paths)
        return record.status  # type: ignore[return-value]


def assist_trial(paths: TrialPaths, configuration: Configuration, team: Team) -> None:
    """Train the trial in ``paths`` together with the worker that runs it (:func:`run_trial`); nothing is written."""
    team.assemble()
    record = Record.read(paths.record)
    assert record is not None  # the worker that leads has written it
    configuration = in_effect(configuration, record.history)
    with isolated(*_process_options(configuration)):
        fit(configuration, paths, read_resume_state(paths.resume), None, False, lambda: None, team=team)
    release_memory()


def _process_options(configuration: Configuration) -> tuple[int, int, bool]:
    values = configuration.values
    return values["seed"], values["threads"], values["trainer"]["deterministic"]


def _failed_just_now(record: Record, run: Run) -> bool:
    return record.status == "failed" and record.ended is not None and record.ended >= run.started


def _failed(record: Record, error: BaseException, paths: TrialPaths) -> Record:
    """Return the record of a trial that ``error``, which is being handled, has ended."""
    line, trace = " ".join(f"{type(error).__name__}: {error}".split()), traceback.format_exc()
    cause = cause_of(error, paths.store.root)
    return dataclasses.replace(record, status="failed", ended=now(), error=line, traceback=trace, cause=cause)


def _trained(
    record: Record,
    paths: TrialPaths,
    configuration: Configuration,
    run: Run,
    on_epoch: Callable[[Row], None] | None,
    pending: Pending,
    team: Team,
    fence: Fence,
) -> Record:
    with spooled(paths.log, fence) as spool, captured(spool.local, run.echo) as log:

        def epoch_ended(row: Row) -> None:
            spool.publish()
            if on_epoch is not None:
                on_epoch(row)

        try:
            record, state = _to_continue(record, paths, fence)
            team.assemble()  # what is there to continue from stays as it is from now on
            configuration = in_effect(configuration, record.history)
            with isolated(*_process_options(configuration)):
                options = (run.progress, pending, run.perturbed, run.loggers, team, fence)
                fitted = fit(configuration, paths, state, epoch_ended, *options)
        except (KeyboardInterrupt, ClaimLostError):
            raise
        except BaseException as error:  # a trial's own failure, sys.exit() included, is a result
            if team.has_lost(error):
                raise  # as if this worker had been killed as well
            fence()  # a successor clears away what this process was writing, which is no failure of the trial
            record = _failed(record, error, paths)
            with contextlib.suppress(OSError):  # a full disk, say: the record is what counts
                log.write(record.traceback or "")
                if record.rows is not None:
                    record = dataclasses.replace(record, rows=len(read_rows(paths.metrics)))
            return record
    ended = None if fitted.status == "pending" else now()
    return dataclasses.replace(record, ended=ended, **dataclasses.asdict(fitted))


def _to_continue(record: Record, paths: TrialPaths, fence: Fence) -> tuple[Record, dict[str, Any] | None]:
    """Return the state that training goes on from; None where it begins, or has to begin anew, which is recorded."""
    state = read_resume_state(paths.resume)
    if state is not None:
        damage = _damage_before(state["epoch"], record, paths)
    elif paths.resume.exists():
        damage = f"{paths.resume} is damaged or of another version"
    else:
        damage = None
    if damage is None:
        return record, state
    print(f"nnray: {damage}; the trial begins anew")
    fence()
    paths.resume.unlink(missing_ok=True)  # other workers of a team look for it themselves
    record = dataclasses.replace(record, continued_from=None, history=[])
    record.write(paths.record, fence)
    return record, None


def _damage_before(epoch: int, record: Record, paths: TrialPaths) -> str | None:
    """Return what is wrong with the rows of the epochs before ``epoch``, None if nothing is."""
    try:
        rows = checked_rows(paths.metrics, record.rows)
    except StoreError as error:
        return str(error)
    there = sum(row["epoch"] < epoch for row in rows)
    if there < epoch and not record.history:  # a state that was taken over may be of any epoch
        return f"{paths.metrics} is damaged: it has {there} of {epoch} rows"
    return None
