"""Train one trial here.

Keys of the configuration are options: --model nnray.models.MLP --model.width 32 --seed 3. They and the files of
--config are applied in the order given, later ones winning. A trial that is trained already is not trained again.
Classes of your own are found in the current folder, beside the files of --config, and on PYTHONPATH.

  --config FILE          a configuration in YAML (may be given several times)
  --KEY VALUE            a value for a dotted key; 'init_args' may be left out
  --COMPONENT.help NAME  the arguments of a class, for example --model.help ResNet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nnray.cli.books_lines import books_lines, mlflow_lines
from nnray.cli.logger_options import add_logger_options, loggers_of
from nnray.cli.store_option import add_store_option, store_paths
from nnray.counting import counted
from nnray.errors import ConfigurationError
from nnray.trial.importing import make_importable
from nnray.trial.merging import COMPONENTS, merge, parse_value, read_configuration_file

if TYPE_CHECKING:
    from nnray.sweep.launch import Executor
    from nnray.sweep.planning.plan import Plan
    from nnray.trial.configuration import Configuration

DEFAULT_SWEEP = "single"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that are not keys of the configuration."""
    parser.usage = "nnray train [--config FILE] [--KEY VALUE ...] [--store PLACE] [--sweep NAME]"
    add_store_option(parser)
    add_logger_options(parser)
    parser.add_argument(
        "--sweep",
        metavar="NAME",
        default=DEFAULT_SWEEP,
        help=f"the sweep whose tables list the trial ({DEFAULT_SWEEP})",
    )
    parser.add_argument("--retry-failed", action="store_true", help="train the trial again if it failed before")
    parser.add_argument("--mlflow-uri", metavar="URI", help="an MLflow server (else the store's own mlflow.db)")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and its signature, and do nothing"
    )
    parser.set_defaults(takes_keys=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from nnray.cli.epoch_lines import EpochLines, failure_line
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_OK
    from nnray.cli.trial_help import class_help
    from nnray.space import Resources, Sweep
    from nnray.store.membership import Membership, members
    from nnray.store.record import now
    from nnray.sweep.launch import carry_out
    from nnray.sweep.planning.plan import Plan, check_place, planned
    from nnray.training.code import code_of
    from nnray.training.runner import Run
    from nnray.trial import resolve

    make_importable(Path.cwd())
    asked = _help_asked(arguments.keys)
    if asked is not None:
        print(class_help(*asked))
        return EXIT_OK
    configuration = resolve(raw_configuration(arguments.keys))
    if arguments.print_config:
        print(f"# signature: {configuration.signature}\n{configuration.yaml()}", end="")
        return EXIT_OK
    configuration.check_parts()
    console = Console(file=sys.stdout, highlight=False)  # also while the trial's log takes sys.stdout's place
    store = store_paths(arguments.store)
    loggers = loggers_of(arguments, arguments.sweep, store)
    check_place(store)
    sweep = Sweep(
        name=arguments.sweep,
        metric=configuration.values["checkpoint"]["monitor"],
        mode=configuration.values["checkpoint"]["mode"],
    )
    place = Membership.read(store.trial(configuration.signature), sweep.name) or Membership(
        standalone_name(configuration), sum(1 for _ in members(store, sweep.name)), sweep.metric, sweep.mode
    )
    trial = planned(store, configuration, place, Resources(workers=configuration.values["workers"]))
    plan = Plan(sweep, store, (trial,), (), arguments.retry_failed)
    again = trial.state == "failed" and plan.retry_failed
    state = "failed before, training it again" if again else _STATES[trial.state]
    if trial.shorter is not None and trial.continues:
        state = f"continuing behind the {counted(trial.shorter.epochs, 'epochs')} of {trial.shorter.paths.signature}"
    console.print(f"trial {trial.signature} ({place.name}): {state}", markup=False, soft_wrap=True)
    for line in mlflow_lines(store, arguments.mlflow_uri):
        console.print(line, markup=False, soft_wrap=True)
    if trial.state == "failed" and not again:
        console.print(failure_line(trial.paths), markup=False, soft_wrap=True)
        return EXIT_FAILED_TRIALS

    code = code_of(Path.cwd(), results=[store.root])
    run_options = Run(
        code, now(), echo=True, progress=console.is_terminal, command=arguments.command_line, loggers=loggers
    )
    outcome = carry_out(plan, run_options, _executor(plan), EpochLines(console), arguments.mlflow_uri)
    for line in books_lines(outcome.books):
        console.print(line, markup=False, soft_wrap=True)
    if outcome.stopped_by:
        console.print(f"interrupted by {outcome.stopped_by}, with nnray stop", markup=False, soft_wrap=True)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED_TRIALS if "failed" in outcome.results.values() else EXIT_OK


def _executor(plan: Plan) -> Executor:
    """Return what trains the trial: this process, or Ray where several processes train it together."""
    from nnray.sweep.in_process import run_in_process

    kinds = {trial.resources for trial in plan.trials}
    if all(resources.workers == 1 for resources in kinds):
        return nullcontext(run_in_process)
    from nnray.sweep.on_ray import RayOptions, ray_executor

    return ray_executor(RayOptions(resources=kinds))


_STATES = {
    "complete": "already trained, nothing to do",
    "stopped": "already trained and stopped early, nothing to do",
    "failed": "failed before (--retry-failed tries it again)",
    "running": "being trained by another command, waiting for it",
    "resume": "resuming",
    "run": "training",
}


def raw_configuration(words: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that options mean: files of --config and keys, later ones winning."""
    raw: dict[str, Any] = {}
    for key, value in _pairs(words):
        if key == "config":
            raw = merge(raw, read_configuration_file(value))
            make_importable(value)
        else:
            raw = merge(raw, {key: parse_value(key, value)})
    return raw


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise ConfigurationError(f"{word!r}: an option such as --model.width 32 is expected here")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigurationError(f"--{key}: a value is missing")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def _help_asked(words: Sequence[str]) -> tuple[str, str] | None:
    for index, word in enumerate(words):
        key, equals, value = word[2:].partition("=")
        component, _, last = key.rpartition(".")
        if word.startswith("--") and last == "help":
            if component not in COMPONENTS:
                raise ConfigurationError(
                    f"{word}: there is help for {', '.join(f'--{kind}.help' for kind in COMPONENTS)}"
                )
            value = value if equals else next(iter(words[index + 1 : index + 2]), "")
            return component, value
    return None


def standalone_name(configuration: Configuration) -> str:
    """Name a trial that stands alone: its model and data, and where it departs from their defaults."""
    from nnray.trial import resolve, trial_names

    flat = configuration.flat()
    classes = {key: value for key, value in flat.items() if key.endswith(".class_path") and key.count(".") == 1}
    words = [str(flat[key]).rpartition(".")[2] for key in ("model.class_path", "data.class_path") if flat.get(key)]
    try:
        defaults = resolve(classes).flat()
    except ConfigurationError:  # a class has arguments without defaults
        defaults = {}
    departures = {key: value for key, value in flat.items() if key in defaults and value != defaults[key]}
    if departures:
        words.append(trial_names([{key: defaults[key] for key in departures}, departures])[1])
    return " ".join(words)
