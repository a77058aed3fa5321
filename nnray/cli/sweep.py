"""Train every trial of a search space that is not trained yet.

Running it again trains only what is missing. Ctrl-C or SIGTERM stops it; nothing but the running epochs is lost.
The exit status is 0 only if all trials are complete, 1 if some failed, 2 for a mistake in the input.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from nnray.cli.books_lines import mlflow_lines
from nnray.cli.confirmation import add_yes_option, confirm
from nnray.cli.jobs import runs_elsewhere, submit_sweep
from nnray.cli.logger_options import add_logger_options, loggers_of
from nnray.cli.space_options import Asked, add_space_options, asked_for
from nnray.cli.store_option import add_store_option, store_paths
from nnray.cli.sweep_lines import complete, deeds, plan_lines, result_lines, total
from nnray.errors import SpaceError
from nnray.space import Resources
from nnray.store.record import CAUSES
from nnray.trial.importing import make_importable

if TYPE_CHECKING:
    from nnray.sweep.cluster.local_ray import LocalRay
    from nnray.sweep.launch import Executor
    from nnray.sweep.planning.plan import Plan
    from nnray.sweep.scheduling import Steering
    from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
    from nnray.trial.paths import StorePaths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    add_space_options(parser)
    add_store_option(parser)
    add_logger_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what there is to do, and do nothing")
    parser.add_argument("--retry-failed", action="store_true", help="train trials again that failed before")
    parser.add_argument(
        "--retry-cause",
        action="append",
        default=[],
        choices=CAUSES,
        help="the same for those that failed of this cause alone; may be given several times",
    )
    parser.add_argument("--max-concurrent", metavar="N", type=_positive, help="run at most N trials at a time")
    parser.add_argument(
        "--address",
        help="the Ray cluster to join (else $RAY_ADDRESS, else Ray is started here); http://HOST:8265, a job server, "
        "runs the command there and lets this one go",
    )
    parser.add_argument("--mlflow-uri", metavar="URI", help="an MLflow server (else the store's own mlflow.db)")
    parser.add_argument(
        "--code-changed",
        choices=("keep", "retrain", "fail"),
        default="keep",
        help="what to do with finished trials that other code or other data made (keep); other code: a Python file "
        "that git tracked then, except the space file itself, has changed or is gone",
    )
    parser.add_argument("--columns", metavar="A,B,...", help="the live table's columns, as nnray status takes them")
    add_yes_option(parser)
    parser.add_argument(
        "--in-process", action="store_true", help="train one trial after another in this process, without Ray"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from nnray.store.record import now

    _refuse_ignored_options(arguments)
    started = now()
    make_importable(Path.cwd())
    asked = asked_for(arguments)
    if runs_elsewhere(arguments):
        return submit_sweep(arguments, asked.sweep.name, [asked.file])
    store = store_paths(arguments.store)
    with _ray_beforehand(arguments, store, asked.sweep.name) as local:
        return _train(arguments, asked, store, local, started)


def _ray_beforehand(
    arguments: argparse.Namespace, store: StorePaths, sweep: str
) -> AbstractContextManager[LocalRay | None]:
    """Have Ray start while the sweep is planned, where it is sure to be needed: for a sweep that has no tables yet."""
    ray = sys.modules.get("ray")
    joins = arguments.address or os.environ.get("RAY_ADDRESS") or (ray is not None and ray.is_initialized())
    if arguments.in_process or arguments.dry_run or joins or store.table(sweep, "trials").exists():
        return nullcontext()
    from nnray.sweep.cluster.local_ray import LocalRay

    return LocalRay()


def _train(
    arguments: argparse.Namespace, asked: Asked, store: StorePaths, local: LocalRay | None, started: datetime
) -> int:
    """Plan the sweep and tell the plan, carry it out and tell the results."""
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_OK
    from nnray.store.record import now
    from nnray.sweep.launch import carry_out
    from nnray.sweep.planning.changes import changes_since
    from nnray.sweep.planning.plan import make_plan
    from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
    from nnray.sweep.watching.display import Display, plan_columns
    from nnray.sweep.watching.progress_table import chosen_columns
    from nnray.training.code import code_of
    from nnray.training.runner import Run

    sweep = asked.sweep
    console = Console(file=sys.stdout, highlight=False)  # also while a trial's log takes sys.stdout's place
    modules = CodeSnapshot.take(sys.path, left_out=[store.root])
    retry = arguments.retry_failed or bool(arguments.retry_cause)
    plan = make_plan(sweep, store, asked.folder, asked.settings, retry)
    if not arguments.retry_failed:
        plan = dataclasses.replace(plan, retry_causes=frozenset(arguments.retry_cause) or None)
    code = code_of(asked.folder, results=[store.root])
    changes = changes_since(plan, code, asked.file)
    if arguments.code_changed == "retrain":
        plan = dataclasses.replace(plan, retrain=changes.signatures)
    for line in (
        *plan_lines(plan),
        *mlflow_lines(store, arguments.mlflow_uri),
        *changes.lines(code),
        *_uncovered_lines(modules),
    ):
        console.print(line, markup=False, soft_wrap=True)
    if changes.signatures and arguments.code_changed == "fail":
        raise SpaceError(
            f"{len(changes.signatures)} finished trials were made by other code or data (--code-changed fail)"
        )
    columns = chosen_columns(
        arguments.columns, plan_columns(plan) if arguments.columns else (), sweep.metric, open_ended=True
    )
    steering = _steering(plan, arguments)
    loggers = loggers_of(arguments, sweep.name, store)
    if arguments.dry_run:
        return EXIT_OK
    confirm(deeds(plan), arguments.yes)

    outcome = carry_out(
        plan,
        Run(
            code,
            started,
            command=arguments.command_line,
            loggers=loggers,
            perturbed=() if steering is None else steering.perturbed,
        ),
        _executor(arguments, plan, modules, steering, local),
        Display(plan, console, columns),
        arguments.mlflow_uri,
    )
    for line in result_lines(plan, outcome, (now() - started).total_seconds(), asked.words, arguments.store):
        console.print(line, markup=False, soft_wrap=True)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    if outcome.problem is not None:
        raise SpaceError(outcome.problem)
    return EXIT_OK if complete(plan, outcome) >= total(plan, outcome) else EXIT_FAILED_TRIALS


def _steering(plan: Plan, arguments: argparse.Namespace) -> Steering | None:
    if plan.sweep.scheduler is None:
        return None
    if arguments.in_process:
        raise SpaceError("scheduler: it weighs trials that Ray trains side by side; --in-process trains one by one")
    from nnray.sweep.scheduling import steering_of

    steering = steering_of(plan)
    if steering is not None and steering.pauses and arguments.max_concurrent is not None:
        raise SpaceError(
            "--max-concurrent: this scheduler sets trials aside and needs them all; --resources cpu=N bounds how many "
            "run at a time"
        )
    return steering


def _executor(
    arguments: argparse.Namespace,
    plan: Plan,
    modules: CodeSnapshot,
    steering: Steering | None,
    local: LocalRay | None,
) -> Executor:
    if arguments.in_process:
        from nnray.sweep.in_process import run_in_process

        together = max((trial.resources.workers for trial in plan.todo), default=1)
        if together > 1:
            raise SpaceError(f"workers: {together} processes train a trial together; leave --in-process out")
        return nullcontext(run_in_process)
    from nnray.sweep.on_ray import RayOptions, ray_executor

    kinds = {trial.resources for trial in plan.todo}
    if plan.search is not None:
        kinds |= plan.search.resources or {Resources()}
    root = plan.store.root.absolute()
    return ray_executor(RayOptions(arguments.address, arguments.max_concurrent, kinds, modules, steering, root, local))


def _refuse_ignored_options(arguments: argparse.Namespace) -> None:
    of_ray = {
        "--max-concurrent": arguments.max_concurrent,
        "--resources": arguments.resources,
        "--address": arguments.address,
    }
    ignored = [option for option, value in of_ray.items() if value]
    if arguments.in_process and ignored:
        raise SpaceError(f"{ignored[0]} is for Ray, and --in-process trains one trial after another without it")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _uncovered_lines(modules: CodeSnapshot) -> list[str]:
    return [
        f"{folder}: too many files to keep all code as it is now; edits deep in it reach trials"
        for folder in modules.uncovered
    ]
