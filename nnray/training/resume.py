"""Continue a trial where it was killed, with the same bits as if it had not been.

The state is taken when an epoch begins, before any random number of that epoch is drawn, and put back at the same
point of the resumed run. It is restored here rather than through ``Trainer.fit(ckpt_path=...)``, since Lightning then
marks its loops as restarting, skips creating the epoch's data iterator (whose creation draws a random number) and
leaves plateau schedulers out.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from nnray.store.files import Fence, readable, replacing, unfenced
from nnray.store.metrics_log import Row
from nnray.training.data_parallel import gathered
from nnray.training.epoch_sums import epoch_sums, set_epoch_sums
from nnray.training.isolation import random_state, set_random_state
from nnray.training.stopping import LeaveTraining, StopTraining
from nnray.training.within_epoch import call_before_first_batch, call_behind_steps, skip_batches

FORMAT = 2
"""Version of the file's layout; a file of another version is not used."""
FORMAT_WITHIN = 3
"""Version of the layout of a state within an epoch, which those who know only the other kind must not use."""
_UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What PyTorch and zipfile raise at files that are cut short or have flipped bits."""


class ResumeState(Callback):
    """Keeps ``resume.ckpt`` up to date, and starts from a former one.

    Must be the first callback of the trainer, so that it sees the state that the others have at an epoch's beginning.

    Args:
        path: The file to keep.
        state: What :func:`read_resume_state` found there, or None to start from the beginning.
        on_epoch: Called with the row of each epoch when the state behind it is kept; may raise StopTraining or
            InterruptTraining (:mod:`nnray.training.stopping`).
        keep_last: Whether to keep the state behind the last epoch, too.
        every_n_steps: After how many optimizer steps to keep the state also within an epoch; None for never.
        fence: Raises if this process may no longer write to the trial.

    Attributes:
        stopped: Whether the training was stopped before its last epoch.
    """

    def __init__(
        self,
        path: Path,
        state: dict[str, Any] | None,
        on_epoch: Callable[[Row], None] | None = None,
        keep_last: bool = False,
        every_n_steps: int | None = None,
        fence: Fence = unfenced,
    ) -> None:
        self._path = path
        self._state = state
        self._elapsed_s = float(state["elapsed_s"]) if state else 0.0
        self._started = time.perf_counter()
        self._on_epoch = on_epoch
        self._keep_last = keep_last
        self._every_n_steps = every_n_steps
        self._beginning: dict[str, Any] = {}
        self._fence = fence
        self._untold: Row | None = None
        self._request: LeaveTraining | None = None
        self.stopped = False

    def leave(self, request: LeaveTraining) -> None:
        """Leave the training when the state to continue behind the running epoch is kept."""
        self._request = request

    def epoch_ended(self, row: Row) -> None:
        """Note what is to be told of an epoch once the state to continue behind it is kept."""
        self._untold = row

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before the resumption included."""
        return self._elapsed_s + time.perf_counter() - self._started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put everything but the random states back."""
        if self._state is not None:
            _restore(trainer, pl_module, self._state)
            # Lightning counts the epoch that begins, which a state within it has counted already.
            epochs = trainer.fit_loop.epoch_progress
            for count in (epochs.current, epochs.total):
                count.ready = count.started = count.processed
            if "within" in self._state:
                call_before_first_batch(trainer, partial(_go_on_within, trainer, pl_module, self._state))
        if self._every_n_steps is not None:
            call_behind_steps(trainer, partial(self._keep_within, trainer, pl_module), self._every_n_steps)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the random states back, or keep the state that an epoch begins with."""
        if self._state is not None:
            workers = [self._state["random"], *self._state.get("random_of_others", ())]
            _set_random_states(trainer, workers[trainer.global_rank], self._state["generators"])
            self._beginning = _beginning(self._state)
            self._state = None
        elif trainer.current_epoch > 0:
            self._beginning = self._keep(trainer, pl_module)
            request = gathered(self._asked(), trainer)[0]  # of several workers only the first is told
            if isinstance(request, StopTraining):
                self.stopped = True
                raise StopIteration  # which ends Lightning's loop over the epochs; on_train_end is called
            if request is not None:
                raise request
        else:
            self._beginning = {"random": random_state(), "generators": _generator_states(trainer)}

    def _asked(self) -> LeaveTraining | None:
        """Tell of the epoch, and return how the training is to be left, if it is."""
        try:
            self._tell()
        except LeaveTraining as request:
            return request
        return self._request

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the state that a further epoch would begin with, if that is wanted, and tell of the last epoch."""
        if self._keep_last and trainer.current_epoch == trainer.max_epochs:
            self._keep(trainer, pl_module)
        with contextlib.suppress(LeaveTraining):  # there is nothing left to leave
            self._tell()

    def _keep(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        """Keep the state between two epochs, and return the random states in it."""
        leaders, *others = gathered(random_state(), trainer)
        beginning = {"random": leaders, "random_of_others": others, "generators": _generator_states(trainer)}
        self._write(trainer, {"format": FORMAT, **beginning, **_collect(trainer, module)})
        return beginning

    def _keep_within(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the state in the middle of an epoch, together with the random states that the epoch began with."""
        within = {
            "batches": trainer.fit_loop.epoch_loop.batch_progress.current.ready,
            "random": random_state(),
            "generators": _generator_states(trainer),
            "sums": epoch_sums(trainer, module),
        }
        if not module.automatic_optimization:  # which may accumulate gradients in a way of its own
            gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
            within["gradients"] = {name: gradient for name, gradient in gradients.items() if gradient is not None}
        state = {"format": FORMAT_WITHIN, **self._beginning, **_collect(trainer, module), "within": within}
        self._write(trainer, state)

    def _write(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            state |= {"epoch": trainer.current_epoch, "elapsed_s": self.elapsed_s}
            # Given a path instead of a file, PyTorch does not say that a disk is full.
            with replacing(self._path, self._fence) as beside, beside.open("wb") as file:
                torch.save(state, file)

    def _tell(self) -> None:
        row, self._untold = self._untold, None
        if row is not None and self._on_epoch is not None:
            self._on_epoch(row)


def read_resume_state(path: Path) -> dict[str, Any] | None:
    """Return the state kept at ``path``, or None if none can be used. Only tensors and plain data are unpickled.

    PyTorch's files are zip archives, whose checksums PyTorch itself doesn't look at.
    """
    try:
        source = readable(path)  # of an object store: what goes wrong there is no damage to the file
    except FileNotFoundError:
        return None
    try:
        with zipfile.ZipFile(source) as archive:
            if archive.testzip() is not None:
                return None
        if not isinstance(source, Path):
            source.seek(0)  # PyTorch reads from where zipfile has stopped
        state = torch.load(source, map_location="cpu", weights_only=True)
    except _UNREADABLE:
        return None
    return state if isinstance(state, dict) and state.get("format") in (FORMAT, FORMAT_WITHIN) else None


def logged_steps(state: dict[str, Any]) -> int:
    """Return at how many steps Lightning's loggers were when ``state`` was taken; without a logger, it is of no use."""
    return int(state.get("logged_steps", 0))


def _collect(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    state: dict[str, Any] = {
        "state_dict": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "callbacks": {callback.state_key: callback.state_dict() for callback in _stateful(trainer)},
        "logged_steps": trainer.fit_loop.epoch_loop._batches_that_stepped,
        "precision": trainer.precision_plugin.state_dict(),
        "progress": {name: progress.state_dict() for name, progress in _progress(trainer).items()},
    }
    # A metric that is not logged in each epoch keeps its last value.
    metrics = trainer._logger_connector._callback_metrics
    state["callback_metrics"] = {name: torch.as_tensor(value).detach() for name, value in metrics.items()}
    if trainer.datamodule is not None:
        state["data"] = trainer.datamodule.state_dict()
    for callback in _stateful(trainer):
        callback.on_save_checkpoint(trainer, module, state)
    module.on_save_checkpoint(state)
    return state


def _restore(trainer: pl.Trainer, module: pl.LightningModule, state: dict[str, Any]) -> None:
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"])
    for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    for config, saved in zip(trainer.lr_scheduler_configs, state["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(saved)
    for callback in _stateful(trainer):
        callback.on_load_checkpoint(trainer, module, state)
        if state["callbacks"].get(callback.state_key):
            callback.load_state_dict(state["callbacks"][callback.state_key])
    trainer.fit_loop.epoch_loop._batches_that_stepped = logged_steps(state)
    trainer.precision_plugin.load_state_dict(state["precision"])
    if trainer.datamodule is not None and state["data"]:
        trainer.datamodule.load_state_dict(state["data"])
    for name, progress in _progress(trainer).items():
        progress.load_state_dict(copy.deepcopy(state["progress"][name]))
    trainer._logger_connector._callback_metrics.update(state.get("callback_metrics", {}))


def _go_on_within(trainer: pl.Trainer, module: pl.LightningModule, state: dict[str, Any], data_fetcher: Any) -> None:
    """Come to where a state within an epoch was taken, from the beginning of that epoch."""
    within = state["within"]
    skip_batches(trainer, data_fetcher, within["batches"])
    _restore(trainer, module, state)  # once more: the hooks of an epoch's beginning have been called since
    set_epoch_sums(trainer, module, within["sums"])
    parameters = dict(module.named_parameters())
    for name, gradient in within.get("gradients", {}).items():
        parameters[name].grad = gradient.to(parameters[name].device)
    _set_random_states(trainer, within["random"], within["generators"])


def _beginning(state: dict[str, Any]) -> dict[str, Any]:
    """Return the random states that an epoch began with."""
    return {name: state[name] for name in ("random", "random_of_others", "generators") if name in state}


def _set_random_states(trainer: pl.Trainer, random: dict[str, Any], generators: list[torch.Tensor]) -> None:
    set_random_state(random)
    for generator, saved in zip(_generators(trainer), generators, strict=True):
        generator.set_state(saved)


def _generator_states(trainer: pl.Trainer) -> list[torch.Tensor]:
    return [generator.get_state() for generator in _generators(trainer)]


def _generators(trainer: pl.Trainer) -> list[torch.Generator]:
    """Return the generators of the loaders' own, from which order and workers' seeds are drawn."""
    found: dict[int, torch.Generator] = {}
    for loader in (*_leaves(trainer.train_dataloader), *_leaves(trainer.val_dataloaders)):
        samplers = (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
        for owner in (loader, *samplers, getattr(samplers[1], "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
    return list(found.values())


def _leaves(loaders: Any) -> list[Any]:
    if isinstance(loaders, dict):
        return [leaf for value in loaders.values() for leaf in _leaves(value)]
    if isinstance(loaders, (list, tuple)):
        return [leaf for value in loaders for leaf in _leaves(value)]
    return [] if loaders is None else [loaders]


def _stateful(trainer: pl.Trainer) -> list[Callback]:
    return [callback for callback in trainer.callbacks if not isinstance(callback, ResumeState)]


def _progress(trainer: pl.Trainer) -> dict[str, Any]:
    loop = trainer.fit_loop
    return {
        "epochs": loop.epoch_progress,
        "batches": loop.epoch_loop.batch_progress,
        "schedulers": loop.epoch_loop.scheduler_progress,
        "optimizer": loop.epoch_loop.automatic_optimization.optim_progress,
        "manual": loop.epoch_loop.manual_optimization.optim_step_progress,
    }
