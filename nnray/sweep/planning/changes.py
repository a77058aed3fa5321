"""What has changed since the trials that a command would reuse were trained: the code, and the data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from nnray.sweep.planning.code_changes import changed_code, tracked_name
from nnray.sweep.planning.plan import Plan, PlannedTrial
from nnray.training.code import Code
from nnray.training.kept_code import recorded_code


@dataclass(frozen=True)
class Changes:
    """Trials of a plan that are done, and were done with something else than there is now.

    Attributes:
        code: Those trained by other code.
        data: Those trained on other data under the same name.
        files: The files of code that differ, as far as that is known.
    """

    code: tuple[PlannedTrial, ...]
    data: tuple[PlannedTrial, ...]
    files: tuple[str, ...] = ()

    @property
    def signatures(self) -> frozenset[str]:
        """All of them."""
        return frozenset(trial.signature for trial in (*self.code, *self.data))

    def lines(self, now: Code) -> list[str]:
        """Return what a person should know, a line each; none if nothing has changed."""
        lines = []
        if self.code:
            commits = sorted({_commit(_code(trial)) for trial in self.code})
            then = ", ".join(commits[:3])
            files = f"; changed: {_listed(self.files)}" if self.files else ""
            lines.append(
                f"trained by other code: {len(self.code)} of the finished trials ({then}; now {_commit(now)}{files})"
            )
        if self.data:
            lines.append(f"trained on other data under the same name: {len(self.data)} of the finished trials")
        return lines


def changes_since(plan: Plan, code: Code, space: Path) -> Changes:
    """Return which finished trials of ``plan`` other code or other data made; loads the data sets that they name.

    Other code is another content of tracked Python files, but for the ``space`` file, which says what to train and not
    how: see :func:`nnray.sweep.planning.code_changes.changed_code`. Where that cannot be told, it is another commit or
    diff.
    """
    done = [trial for trial in plan.trials if trial.state in ("complete", "stopped") and trial.record is not None]
    # A trial that goes on from a shorter one is made by whatever made that.
    done += [replace(trial, record=trial.shorter.record) for trial in plan.trials if trial.shorter and trial.continues]
    folder, own = space.absolute().parent, tracked_name(space)
    states = {state for state in map(_code, done) if None not in (state.commit, code.commit)}
    changed = {state: changed_code(folder, state, code) for state in states}
    others = {state: files and files - {own} for state, files in changed.items() if files is None or files - {own}}
    return Changes(
        code=tuple(trial for trial in done if _code(trial) in others),
        data=tuple(_trained_on_other_data(done)),
        files=tuple(sorted(set().union(*filter(None, others.values())))),
    )


def _code(trial: PlannedTrial) -> Code:
    assert trial.record is not None
    return recorded_code(trial.paths.store, trial.record)


def _trained_on_other_data(done: list[PlannedTrial]) -> list[PlannedTrial]:
    by_data: dict[str, list[PlannedTrial]] = {}
    for trial in done:
        if trial.record is not None and trial.record.data_fingerprint:
            by_data.setdefault(json.dumps(trial.configuration.values["data"], sort_keys=True), []).append(trial)
    other = []
    for trials in by_data.values():
        fingerprint = _fingerprint(trials[0])
        other += [
            trial for trial in trials if trial.record and fingerprint not in (None, trial.record.data_fingerprint)
        ]
    return other


def _fingerprint(trial: PlannedTrial) -> str | None:
    """Return today's fingerprint of the trial's data, or None where the data is not at hand (on a laptop, say)."""
    try:
        return trial.configuration.build_data().fingerprint()
    except Exception:  # whatever a data module raises, a question about the past must not stop the command
        return None


def _listed(files: tuple[str, ...]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _commit(code: Code) -> str:
    return f"{(code.commit or 'unknown')[:8]}{' with changes' if code.diff else ''}"
