"""What ``nnray sweep`` says before and after: the plan, and what became of it."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from nnray.cli.books_lines import books_lines
from nnray.counting import counted
from nnray.errors import StoreError
from nnray.store.files import shown
from nnray.store.membership import Membership
from nnray.store.record import CAUSES, Record, readable_record

if TYPE_CHECKING:
    from nnray.sweep.launch import Outcome
    from nnray.sweep.planning.plan import Plan
    from nnray.trial.paths import TrialPaths

_NAMED = 5
"""Of many trials in trouble, the first ones tell what it is."""

_ADVICE = {
    "lost": "nodes or processes were lost time and again; --retry-failed tries once more",
    "out-of-memory": "give a trial more with --resources, and --retry-failed",
    "disk-full": "the next nnray sweep tries them again; nnray gc makes room",
    "diverged": "the loss is no number: another learning rate, say, makes other trials",
    "error": "mend what the log shows, then --retry-failed",
}


def plan_lines(plan: Plan) -> list[str]:
    """Return what is about to be done, the counts of all trials first."""
    counts = plan.counts()
    continuing = sum(trial.continues and trial.signature not in plan.retrain for trial in plan.trials)
    counts["run"] -= continuing
    parts = [f"{counts['complete']} complete", f"{counts['resume']} to resume", f"{counts['run']} to run"]
    if counts["stopped"]:
        parts.insert(1, f"{counts['stopped']} stopped early")
    if counts["running"]:
        parts.append(f"{counts['running']} running in another command")
    if counts["failed"]:
        failed = [trial for trial in plan.trials if trial.state == "failed"]
        causes = by_cause([trial.record for trial in failed])
        retried = sum(map(plan.is_retried, failed))
        some = "to be tried again" if retried == len(failed) else f"{retried} of them to be tried again"
        again = some if retried else "--retry-failed tries them again"
        parts.append(f"{counts['failed']} failed before ({causes}; {again})")
    if counts["damaged"]:
        parts.append(f"{counts['damaged']} damaged")
    if continuing:
        parts.append(f"{continuing} to continue from shorter trials")
    if plan.retrain:
        parts.append(f"{len(plan.retrain)} to train anew")
    if plan.stopping:
        parts.append(f"{len(plan.stopping)} to stop")
    if plan.search is not None:
        parts = [*(part for part in parts[1:] if part[:2] != "0 "), f"{plan.total - len(plan.trials)} to ask for"]
        title = f"{plan.sweep.name}: search {plan.search.title}: {counts['complete']} of {plan.total} trials complete, "
    else:
        title = f"{plan.sweep.name}: {counted(len(plan.trials), 'trials')}: "
    lines = [f"{title}{', '.join(parts)}", f"store: {plan.store.root}"]
    lines += plan.notes
    obstacles = Counter(trial.shorter.obstacle for trial in plan.trials if trial.shorter and trial.shorter.obstacle)
    lines += [f"{number} train anew although shorter ones exist: {why}" for why, number in obstacles.items()]
    lines += _damage_lines(plan)
    if plan.departed:
        departed = counted(len(plan.departed), "trials")
        lines.append(f"no longer in the space: {departed}, gone from the tables; folders stay")
    if plan.stopping or plan.withdrawn:
        lines.append(
            f"of these another command is running {len(plan.stopping)}, which it leaves to be resumed some day, and "
            f"would have run {len(plan.withdrawn)}, which it will not"
        )
    return lines


def deeds(plan: Plan) -> list[str]:
    """Return what the plan does that a person should be asked about."""
    asked = []
    if plan.stopping or plan.withdrawn:
        number = len(plan.stopping) + len(plan.withdrawn)
        asked.append(f"takes {counted(number, 'trials')} from another command, {len(plan.stopping)} of them running")
    lost = sum(trial.signature in plan.retrain and trial.state != "run" for trial in plan.trials)
    if lost:
        asked.append(f"throws the results of {counted(lost, 'finished trials')} away to train anew")
    return asked


def complete(plan: Plan, outcome: Outcome) -> int:
    """Return how many trials of the plan are done, of those that the sweep still lists and whose folders are whole."""
    done = {trial.signature for trial in plan.trials if trial.state in ("complete", "stopped")} - plan.retrain
    done |= {signature for signature, result in outcome.results.items() if result != "failed"}
    return len(done - outcome.books.damaged.keys())


def total(plan: Plan, outcome: Outcome) -> int:
    """Return how many trials the command was to see complete in the end."""
    return plan.total - len(outcome.dropped)


def result_lines(plan: Plan, outcome: Outcome, seconds: float, words: str, store: str | None) -> list[str]:
    """Return what became of the plan, and what a person may do next."""
    name = plan.sweep.name
    option = f" --store {shlex.quote(store)}" if store else ""
    again = f"nnray sweep {words}{option}"  # words are quoted for a shell
    now = sum(result != "failed" for result in outcome.results.values())
    lines = [
        f"{name}: {complete(plan, outcome)} of {total(plan, outcome)} trials complete, {now} of them now, "
        f"in {seconds:.0f} s"
    ]
    failed = [plan.store.trial(signature) for signature, result in outcome.results.items() if result == "failed"]
    lines += _failure_lines(failed, name)
    if outcome.note is not None:
        lines.append(outcome.note)
    if outcome.space is not None:
        lines.append(outcome.space)
    readable = {trial.signature for trial in plan.trials if trial.damage is None} | outcome.results.keys()
    known = len(readable - outcome.books.damaged.keys())
    gone = max(len(outcome.dropped), known - outcome.books.trials)
    if gone:
        others = counted(gone, "trials")
        lines.append(f"no longer listed: {others}; another command has given {name} another space meanwhile")
    if outcome.set_aside:
        lines.append(f"interrupted on request: {counted(len(outcome.set_aside), 'trials')}; {again} goes on")
    if outcome.interrupted:
        by = f" by {outcome.stopped_by}, with nnray stop" if outcome.stopped_by else ""
        lines.append(f"interrupted{by}: {again} goes on where this stopped")
    lines.append(f"tables: {shown(plan.store.tables / name)}; best rows: nnray results {name}{option}")
    return [*lines, *books_lines(outcome.books)]


def by_cause(records: list[Record | None]) -> str:
    """Return how many failures have which cause, as ``3 error, 1 lost``."""
    counts = Counter((record.cause if record else None) or "error" for record in records)
    return ", ".join(f"{counts[cause]} {cause}" for cause in CAUSES if counts[cause])


def _damage_lines(plan: Plan) -> list[str]:
    damaged = [trial for trial in plan.trials if trial.damage is not None]
    lines = [f"damaged: {trial.membership.name} ({trial.signature}): {trial.damage}" for trial in damaged[:_NAMED]]
    if len(damaged) > _NAMED:
        lines.append(f"... and {len(damaged) - _NAMED} more damaged")
    if damaged:
        lines.append("damaged trials are left as they are; one whose folder is removed is trained anew")
    return lines


def _failure_line(paths: TrialPaths, sweep: str, record: Record | None) -> str:
    """Return what is known of one failed trial, whose folder may be damaged."""
    try:
        place = Membership.read(paths, sweep)
        Record.read(paths.record)
        why = f": {record.error}" if record and record.error else ""
    except StoreError as error:
        return f"{paths.signature}: {' '.join(str(error).split())}"
    return f"{place.name if place else 'trial'} ({paths.signature}){why}; see {paths.log}"


def _failure_lines(failed: list[TrialPaths], sweep: str) -> list[str]:
    if not failed:
        return []
    records = {paths.signature: readable_record(paths) for paths in failed}
    lines = [f"failed: {counted(len(failed), 'trials')} ({by_cause(list(records.values()))})"]
    for paths in failed[:_NAMED]:
        lines.append(f"failed: {_failure_line(paths, sweep, records[paths.signature])}")
    if len(failed) > _NAMED:
        lines.append(f"... and {len(failed) - _NAMED} more failed")
    causes = {(record.cause if record else None) or "error" for record in records.values()}
    return lines + [f"{cause}: {_ADVICE[cause]}" for cause in CAUSES if cause in causes]
