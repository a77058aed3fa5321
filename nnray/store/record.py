"""A trial's record: what became of it, when, where and with which code."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nnray.errors import StoreError
from nnray.redaction import masked_text
from nnray.store.files import Fence, unfenced, write_text
from nnray.store.json_files import check_types, read_json
from nnray.trial.paths import TrialPaths

Status = Literal["pending", "running", "completed", "stopped", "failed"]
Cause = Literal["lost", "out-of-memory", "disk-full", "diverged", "error"]
CAUSES: tuple[Cause, ...] = ("lost", "out-of-memory", "disk-full", "diverged", "error")
"""Why an attempt failed: its process, its node or the store was lost, memory ran out, the disk was full, the loss is no
number, or code raised.
"""
STATUSES: tuple[Status, ...] = ("pending", "running", "completed", "stopped", "failed")

_TEXTS = ("error", "traceback")


@dataclass(frozen=True)
class Record:
    """The content of ``record.json``.

    Attributes:
        signature: All 64 hex digits.
        status: What became of the trial. A trial whose runner died still says ``running``; its claim is free then.
        error: One line, for a failed trial.
        traceback: The whole of it, for a failed trial.
        cause: Why it failed, for a failed trial: one of ``CAUSES``.
        attempts: How often a runner started the trial.
        former_attempts: How each attempt before the last ended that is known of: a cause, or ``interrupted``.
        continued_from: Signature of the shorter trial whose epochs this one began with.
        started: When the first attempt started (UTC).
        ended: When the trial was completed, stopped or failed (UTC).
        duration_s: Seconds of training, summed over the attempts that its result is made of.
        rows: How many rows ``metrics.jsonl`` has at least, each with a checksum; of a trial that has ended, exactly.
            None where a former version wrote them.
        host: The machine of the last attempt.
        device: The processor or accelerator of the last attempt.
        driver: Version of the GPU's driver, where it was trained on one.
        command: The command that trained it, without passwords.
        versions: Versions of Python and of the libraries that make the result.
        git_commit: Commit of the code that trained the trial, None outside a repository.
        git_diff: "" if that code was the commit's; None where it is not known, or kept under ``code``.
        code: Name of the folder ``code/<name>`` of the store that holds what the code differed from the commit by, and
            the files that git did not track; None if there was nothing of that kind.
        packages: Name of the file ``packages/<name>.txt`` of the store that lists all installed packages.
        data_fingerprint: Hash of the data set's content, None where the data module has none.
        data_facts: What the model took from the data: channels, classes, image size.
        history: Changes while the trial trained, by population based training: ``epoch`` (the first one trained so),
            ``from`` (the trial whose weights it went on with), ``at`` (when), ``values`` (key: [old, new]).
    """

    signature: str
    status: Status = "pending"
    error: str | None = None
    traceback: str | None = None
    cause: Cause | None = None
    attempts: int = 0
    former_attempts: list[str] = field(default_factory=list)
    continued_from: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    duration_s: float | None = None
    rows: int | None = None
    host: str | None = None
    device: str | None = None
    driver: str | None = None
    command: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    git_diff: str | None = None
    code: str | None = None
    packages: str | None = None
    data_fingerprint: str | None = None
    data_facts: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: Path, fence: Fence = unfenced) -> None:
        """Replace the file at ``path`` in one step; passwords and tokens in what is text are masked.

        Args:
            path: The file.
            fence: Raises, at the last moment, if this process may no longer write to the trial.
        """
        values = dataclasses.asdict(self)
        values |= {key: masked_text(values[key]) for key in _TEXTS if values[key]}
        write_text(path, json.dumps(values, default=_json, indent=1) + "\n", fence)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Return the record at ``path``, or None if there is none; raise StoreError if it is damaged."""
        try:
            values = read_json(path)
            known = {entry.name for entry in dataclasses.fields(cls)}
            values = {key: value for key, value in values.items() if key in known}
            for key in ("started", "ended"):
                if values.get(key):
                    values[key] = datetime.fromisoformat(values[key])
            record = cls(**values)
            check_types(cls, values)
        except FileNotFoundError:
            return None
        except ConnectionError:  # of an object store: it may well be whole
            raise
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error
        return record


def readable_record(paths: TrialPaths) -> Record | None:
    """Return a trial's record, None if there is none or it is damaged: for those to whom that is the same."""
    try:
        return Record.read(paths.record)
    except StoreError:
        return None


def now() -> datetime:
    """Return the time as records keep it: UTC, to the microsecond."""
    return datetime.now(UTC)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a record")
