"""The two moments within an epoch that Lightning has no hook for: behind a whole step, and before the first batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from nnray.data.batches import ShuffledBatches


def call_behind_steps(trainer: pl.Trainer, keep: Callable[[], None], every_n_steps: int) -> None:
    """Call ``keep`` behind every n-th optimizer step of which nothing is pending, but for the last one of an epoch.

    That is where the next batch is not fetched yet, validation and schedulers have had their turn, and no gradients
    are being accumulated; the callbacks' last hook comes before all that.
    """
    loop = trainer.fit_loop.epoch_loop
    end_of_step = loop.on_advance_end

    def on_advance_end(data_fetcher: Any) -> None:
        before = loop._batches_that_stepped
        end_of_step(data_fetcher)
        stepped = loop._batches_that_stepped
        if stepped > before and stepped % every_n_steps == 0 and not (loop._is_training_done or trainer.should_stop):
            keep()

    loop.on_advance_end = on_advance_end


def call_before_first_batch(trainer: pl.Trainer, enter: Callable[[Any], None]) -> None:
    """Call ``enter`` once, with what fetches batches, when the next epoch is about to fetch its first one."""
    loop = trainer.fit_loop.epoch_loop
    begin = loop.on_run_start

    def on_run_start(data_fetcher: Any) -> None:
        loop.on_run_start = begin
        begin(data_fetcher)
        enter(data_fetcher)

    loop.on_run_start = on_run_start


def skip_batches(trainer: pl.Trainer, data_fetcher: Any, batches: int) -> None:
    """Let the epoch's next batch be the one behind so many.

    nnray's own batches are skipped without being made. All others are fetched and dropped, so that samplers, workers
    and generators come to where they were.
    """
    loader = trainer.train_dataloader
    if isinstance(loader, ShuffledBatches):
        loader.load_state_dict({"epoch": trainer.current_epoch, "batch": batches})
        data_fetcher.fetched += batches
    else:
        for _ in range(batches):
            next(data_fetcher)
