"""TensorBoard and Weights & Biases on request: Lightning's loggers, which a resumed trial continues.

They are no part of a trial: they neither enter its signature nor change its result.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnray.errors import ConfigurationError
from nnray.store.files import is_local
from nnray.store.membership import Membership
from nnray.store.record import Record
from nnray.trial.paths import StorePaths, TrialPaths

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Loggers:
    """Which loggers a command wants its trials to have.

    Attributes:
        sweep: The sweep that the command works on.
        tensorboard: Whether to write TensorBoard's event files, to ``tensorboard/`` in the trial's folder; the store's
            ``tensorboard/<sweep>/`` has a link to it by the trial's name.
        wandb: The project of Weights & Biases to log to, or None.
    """

    sweep: str
    tensorboard: bool = False
    wandb: str | None = None

    def check(self, store: StorePaths) -> None:
        """Raise ConfigurationError if a package is missing or ``store`` cannot take what it writes: here rather than in
        each trial.
        """
        # Lightning would make do with tensorboardX, whose flush() does not wait for what a killed process then loses.
        if self.tensorboard and not _is_there("tensorboard"):
            raise ConfigurationError("TensorBoard is not installed: pip install 'nnray[tensorboard]'")
        if self.tensorboard and not is_local(store.root):
            raise ConfigurationError(
                f"--tensorboard appends to its files, which an object store cannot: it needs a store in a folder, not "
                f"{store.root}"
            )
        if self.wandb is not None and not _is_there("wandb"):
            raise ConfigurationError("Weights & Biases is not installed: pip install 'nnray[wandb]'")


@contextmanager
def opened(
    loggers: Loggers | None, paths: TrialPaths, config: Mapping[str, Any], logged_steps: int | None
) -> Iterator[list[Logger]]:
    """Open the loggers of a trial and close them afterwards.

    Args:
        loggers: Those that are wanted; None for none.
        paths: The trial's folder.
        config: Its resolved configuration by dotted keys.
        logged_steps: The logged steps that a resumed trial begins behind, None for one that begins anew. What was
            logged later, before the trial was killed, is logged again and does not count twice.
    """
    if loggers is None:
        yield []
        return
    from nnray.training.isolation import random_state, set_random_state

    with contextlib.ExitStack() as stack:
        found: list[Logger] = []
        state = random_state()  # whatever loggers draw for names of their own
        if loggers.tensorboard:
            found.append(stack.enter_context(_tensorboard(loggers, paths, logged_steps)))
        if loggers.wandb is not None:
            found.append(stack.enter_context(_wandb(loggers, paths, config)))
        set_random_state(state)
        stack.enter_context(warnings.catch_warnings())
        # A small network has fewer batches than Lightning logs steps apart; epochs are logged in any case.
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        yield found


@contextmanager
def _tensorboard(loggers: Loggers, paths: TrialPaths, logged_steps: int | None) -> Iterator[TensorBoardLogger]:
    from lightning.pytorch.loggers import TensorBoardLogger

    if logged_steps is None:
        shutil.rmtree(paths.tensorboard, ignore_errors=True)
    _link(loggers, paths)
    place = paths.tensorboard
    logger = TensorBoardLogger(place.parent, "", place.name, default_hp_metric=False, purge_step=logged_steps)
    try:
        _ = logger.experiment
        yield logger
    finally:
        logger.finalize("")


@contextmanager
def _wandb(loggers: Loggers, paths: TrialPaths, config: Mapping[str, Any]) -> Iterator[WandbLogger]:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    record = Record.read(paths.record)
    started = record.started if record is not None else None
    logger = WandbLogger(
        project=loggers.wandb,
        name=_name(loggers, paths),
        # One run per training: an attempt that continues a killed one continues its run.
        id=f"{paths.signature}-{started:%Y%m%d%H%M%S}" if started is not None else paths.signature,
        resume="allow",
        group=loggers.sweep,
        save_dir=str(paths.folder) if is_local(paths.folder) else tempfile.gettempdir(),
        config=dict(config),
        # What it gathers by itself would show the command line and the repository's address, with any password in them.
        settings=wandb.Settings(console="off", disable_git=True, save_code=False, x_disable_meta=True),
    )
    failed = 1
    try:
        _ = logger.experiment
        yield logger
        failed = 0
    finally:
        wandb.finish(exit_code=failed)


def _link(loggers: Loggers, paths: TrialPaths) -> None:
    """Let TensorBoard find the trial by its name, among those of its sweep."""
    name = _name(loggers, paths).replace("/", "_")
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} {paths.signature}"
    place = paths.store.tensorboard(loggers.sweep) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(paths.tensorboard, place.parent)
    with contextlib.suppress(FileNotFoundError):
        place.unlink()  # a space that was edited may give a name to another trial
    with contextlib.suppress(FileExistsError):
        place.symlink_to(target)


def _name(loggers: Loggers, paths: TrialPaths) -> str:
    membership = Membership.read(paths, loggers.sweep)
    return membership.name if membership is not None else paths.signature


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
