"""From a configuration to a trained network: the parts are built, and Lightning fits them."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nnray.errors import TrialError
from nnray.store.files import Fence, unfenced
from nnray.store.metrics_log import HYPER, Row, RowLog, rows_around
from nnray.store.weights import kept_epochs
from nnray.training.data_parallel import ALONE, Team
from nnray.training.epoch_recorder import EpochRecorder
from nnray.training.loggers import Loggers, opened
from nnray.training.provenance import gpu_driver, processor
from nnray.training.requests import Pending, RequestPoll
from nnray.training.resume import ResumeState, logged_steps
from nnray.training.stopping import InterruptTraining
from nnray.trial.configuration import Configuration
from nnray.trial.options import CheckpointOptions
from nnray.trial.paths import TrialPaths

_OWN_TRAINER_OPTIONS = ("callbacks", "deterministic")


@dataclass(frozen=True)
class Fitted:
    """What a finished fit says of itself: see the fields of the same names in a trial's record."""

    status: Literal["completed", "stopped", "pending"]
    duration_s: float
    device: str
    driver: str | None
    data_fingerprint: str | None
    data_facts: dict[str, Any]
    rows: int


def fit(
    configuration: Configuration,
    paths: TrialPaths,
    state: dict[str, Any] | None,
    on_epoch: Callable[[Row], None] | None,
    progress: bool,
    pending: Pending,
    perturbed: Sequence[str] = (),
    loggers: Loggers | None = None,
    team: Team = ALONE,
    fence: Fence = unfenced,
) -> Fitted:
    """Train the network of ``configuration``.

    The caller has set the process's state (:func:`nnray.training.isolation.isolated`), and the one that leads its team
    holds the trial's claim.

    Args:
        configuration: What to train.
        paths: Where metrics, checkpoints and the resume state are kept.
        state: What was kept in ``paths.resume`` to continue from; None to start from the beginning.
        on_epoch: Called with the row of metrics after each epoch; may raise StopTraining or InterruptTraining.
        progress: Whether to show Lightning's progress bar.
        pending: Tells whether somebody wants the trial to end.
        perturbed: Dotted keys whose values stand in each row as ``hyper/<key>``, as far as they are numbers.
        loggers: TensorBoard and the like, if they are wanted.
        team: The workers that train the network together, each of which calls this.
        fence: Called before anything is written to the trial; raises if the trial's claim is lost.

    Returns:
        What is to be recorded; ``pending`` if ``on_epoch`` or somebody else asked to be continued later.
    """
    workers = configuration.values["workers"]
    if workers != team.workers:
        raise TrialError(f"workers: {workers} are to train the trial together, not {team.workers}")
    data = configuration.build_data()
    facts = configuration.data_facts(data)
    model = configuration.build_model(facts)
    optimizer, scheduler = configuration.factory("optimizer"), configuration.factory("lr_scheduler")
    parts = {"model": model, "optimizer": optimizer, "lr_scheduler": scheduler}
    task = configuration.build_task(**{key: part for key, part in parts.items() if part is not None}, **_classes(facts))

    team.part_ways(configuration.values["seed"])
    options = CheckpointOptions(**configuration.values["checkpoint"])
    resume = ResumeState(paths.resume, state, on_epoch, options.keep_state, options.every_n_steps, fence)
    flat = configuration.flat()
    hyperparameters = {HYPER + key: flat[key] for key in perturbed if isinstance(flat.get(key), (int, float))}
    first: list[pl.Callback] = [resume, *team.callbacks()]
    last: list[pl.Callback] = []
    recorder: EpochRecorder | None = None
    steps = logged_steps(state) if state else None
    status: Literal["completed", "stopped", "pending"] = "completed"
    try:
        with ExitStack() as until_fitted:
            if team.leads:
                first.append(RequestPoll(pending, resume))
                recorder = _recorder(options, paths, model, resume, state, hyperparameters, fence)
                last.append(until_fitted.enter_context(closing(recorder)))
            trainer = _trainer(configuration, first, last, progress, team)
            trainer.loggers = until_fitted.enter_context(opened(loggers, paths, flat, steps))
            trainer.fit(task, datamodule=data)
        if resume.stopped:
            status = "stopped"
    except InterruptTraining:
        status = "pending"
    except SystemExit as leaving:  # which is what Lightning makes of Ctrl-C, and of SIGTERM
        if isinstance(leaving, SIGTERMException) or isinstance(leaving.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    fingerprint = data.fingerprint() if hasattr(data, "fingerprint") else None
    rows = recorder.epochs if recorder is not None else 0
    return Fitted(status, resume.elapsed_s, *_device(trainer), fingerprint, facts, rows)


def _recorder(
    options: CheckpointOptions,
    paths: TrialPaths,
    model: torch.nn.Module | None,
    resume: ResumeState,
    state: dict[str, Any] | None,
    hyperparameters: dict[str, float],
    fence: Fence,
) -> EpochRecorder:
    """Return what records the epochs from ``state`` on.

    What a run that was killed has kept of these epochs stays until they are trained again, which gives the same. Only
    where hyperparameters change while trials train, it may be of other ones, and goes.
    """
    first_epoch = int(state["epoch"]) if state else 0
    kept = kept_epochs(paths)
    fence()
    for epoch, path in kept.items():
        when_left = epoch + 1 == first_epoch and not options.is_due(epoch)  # kept when it was left
        if when_left or (epoch >= first_epoch and (hyperparameters or not options.is_due(epoch))):
            path.unlink()
    rows, ahead = rows_around(paths.metrics, first_epoch)
    log = RowLog(paths.metrics, rows, fence, () if hyperparameters else ahead)
    return EpochRecorder(paths, options, model, rows, log, resume.epoch_ended, hyperparameters, fence)


def _classes(facts: dict[str, Any]) -> dict[str, Any]:
    return {"num_classes": facts["num_classes"]} if "num_classes" in facts else {}


def _trainer(
    configuration: Configuration, first: list[pl.Callback], last: list[pl.Callback], progress: bool, team: Team
) -> pl.Trainer:
    options = {key: value for key, value in configuration.values["trainer"].items() if key not in _OWN_TRAINER_OPTIONS}
    callbacks = configuration.build_callbacks()
    if callbacks or team.workers > 1:
        return _new_trainer({**options, **team.trainer}, progress, [*first, *callbacks, *last])
    trainer = copy.deepcopy(_unused_trainer(json.dumps({**options, **team.trainer}), progress))
    trainer.callbacks = [*first, *trainer.callbacks, *last]
    return trainer


@functools.lru_cache(maxsize=8)
def _unused_trainer(options: str, progress: bool) -> pl.Trainer:
    """Return a trainer to be copied, which takes 0.4 ms; making one takes 4 ms, since it reads the metadata of every
    installed package in search of callbacks.
    """
    return _new_trainer(json.loads(options), progress, [])


def _new_trainer(options: dict[str, Any], progress: bool, callbacks: list[pl.Callback]) -> pl.Trainer:
    return pl.Trainer(
        **options,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=True,  # each of several workers gets its part of a DataLoader's examples
    )


def _device(trainer: pl.Trainer) -> tuple[str, str | None]:
    """Return the name of the device that was trained on, and the version of its driver."""
    device = trainer.strategy.root_device
    return (torch.cuda.get_device_name(device), gpu_driver()) if device.type == "cuda" else (processor(), None)
