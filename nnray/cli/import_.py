"""Bring in a network that was trained elsewhere: a state dict becomes a completed trial of a sweep.

  nnray import resnet.pt --sweep imported --model ResNet --model.depth 20 --data CIFAR10 --source paper
  nnray import runs/3/last.ckpt --sweep imported --config model.yaml --source runs/3

Keys of the configuration are options, as for nnray train. The checkpoint (.pt, .pth, .ckpt, .safetensors) is read
without running code in it. --source takes any text; it enters the signature, so that many checkpoints of one
architecture can stand side by side.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from nnray.cli.books_lines import books_lines
from nnray.cli.store_option import add_store_option, store_paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that are not keys of the configuration."""
    parser.usage = "nnray import CHECKPOINT --sweep NAME [--config FILE] [--KEY VALUE ...] [--store PLACE]"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a state dict, or a file that holds one")
    parser.add_argument("--sweep", metavar="NAME", required=True, help="the sweep whose tables list the network")
    parser.add_argument("--mlflow-uri", metavar="URI", help="an MLflow server (else the store's own mlflow.db)")
    add_store_option(parser)
    parser.set_defaults(takes_keys=True)


def run(arguments: argparse.Namespace) -> int:
    """Import the network and print its signature."""
    from nnray.cli.epoch_lines import EpochLines
    from nnray.cli.main import EXIT_OK
    from nnray.cli.train import raw_configuration, standalone_name
    from nnray.space import Sweep
    from nnray.store.foreign import import_trial, read_state_dict
    from nnray.store.membership import Membership, members
    from nnray.store.record import now
    from nnray.sweep.in_process import run_in_process
    from nnray.sweep.launch import carry_out
    from nnray.sweep.planning.plan import Plan, check_place, planned
    from nnray.training.code import code_of
    from nnray.training.runner import Run
    from nnray.trial import resolve
    from nnray.trial.importing import make_importable

    make_importable(Path.cwd())
    configuration = resolve(raw_configuration(arguments.keys))
    sweep = Sweep(
        name=arguments.sweep,
        metric=configuration.values["checkpoint"]["monitor"],
        mode=configuration.values["checkpoint"]["mode"],
    )
    store = store_paths(arguments.store)
    check_place(store)
    paths = import_trial(store, configuration, read_state_dict(Path(arguments.checkpoint)))
    name = configuration.values["source"] or standalone_name(configuration)
    place = Membership.read(paths, sweep.name) or Membership(
        name, sum(1 for _ in members(store, sweep.name)), sweep.metric, sweep.mode
    )
    plan = Plan(sweep, store, (planned(store, configuration, place),), ())
    console = Console(highlight=False)
    run_options = Run(code_of(Path.cwd(), results=[store.root]), now(), command=arguments.command_line)
    outcome = carry_out(plan, run_options, nullcontext(run_in_process), EpochLines(console), arguments.mlflow_uri)
    console.print(paths.signature, markup=False)
    for line in books_lines(outcome.books):
        console.print(line, markup=False, soft_wrap=True)
    return EXIT_OK
