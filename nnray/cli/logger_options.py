"""The options of loggers, the same for every command that trains."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnray.training.loggers import Loggers
    from nnray.trial.paths import StorePaths


def add_logger_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--tensorboard`` and ``--wandb PROJECT``."""
    parser.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard's event files (tensorboard/ in the store)"
    )
    parser.add_argument("--wandb", metavar="PROJECT", help="log to this project of Weights & Biases")


def loggers_of(arguments: argparse.Namespace, sweep: str, store: StorePaths) -> Loggers | None:
    """Return the loggers that the options ask for, None for none.

    Raises:
        ConfigurationError: If one is not installed, or cannot write to ``store``.
    """
    from nnray.training.loggers import Loggers

    if not arguments.tensorboard and arguments.wandb is None:
        return None
    loggers = Loggers(sweep, arguments.tensorboard, arguments.wandb)
    loggers.check(store)
    return loggers
