"""Sides (c) and (d): a loop over the trials in as many processes as there are cores, and no books."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

from throughput.grid import EPOCHS, Measured, Trial

Train = Callable[[Trial, Any, Any], float]
"""Trains a trial on a training and a validation set and returns its validation accuracy."""


def lightning_loop(trials: list[Trial], processes: int) -> Measured:
    """Measure side (c): Lightning without logger, checkpoints, progress bar and checks."""
    return _measure(_with_lightning, trials, processes)


def pytorch_loop(trials: list[Trial], processes: int) -> Measured:
    """Measure side (d): loops written by hand, with ordinary DataLoaders."""
    return _measure(_with_pytorch, trials, processes)


def indexing_loop(trials: list[Trial], processes: int) -> Measured:
    """Measure side (e): loops written by hand, with batches cut by indexing the tensors of the data set."""
    return _measure(_with_indexing, trials, processes)


def _with_lightning() -> Train:
    import logging
    import warnings

    import lightning.pytorch as pl

    from throughput.by_hand import loaders
    from throughput.lightning_task import Task

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*")

    def train(trial: Trial, training: Any, validation: Any) -> float:
        pl.seed_everything(trial.seed, verbose=False)
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(Task(trial.width, trial.lr), *loaders(training, validation))
        return float(trainer.callback_metrics["val_acc"])

    return train


def _with_pytorch() -> Train:
    from throughput.by_hand import loaders

    def train(trial: Trial, training: Any, validation: Any) -> float:
        train_loader, val_loader = loaders(training, validation)
        return _train_by_hand(trial, train_loader, val_loader)

    return train


def _with_indexing() -> Train:
    import torch

    from throughput.grid import BATCH_SIZE

    def train(trial: Trial, training: Any, validation: Any) -> float:
        class Shuffled:
            def __iter__(self) -> Any:
                images, labels = training.tensors
                for chosen in torch.randperm(len(labels)).split(BATCH_SIZE):
                    yield images[chosen], labels[chosen]

        return _train_by_hand(trial, Shuffled(), [validation.tensors])

    return train


def _train_by_hand(trial: Trial, train_batches: Any, val_batches: Any) -> float:
    import torch
    import torch.nn.functional as F

    from throughput.by_hand import TwoConvolutions

    torch.manual_seed(trial.seed)
    model = TwoConvolutions(trial.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.lr)
    accuracy = 0.0
    for _ in range(EPOCHS):
        model.train()
        for images, labels in train_batches:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        hits = count = 0
        with torch.no_grad():
            for images, labels in val_batches:
                hits += int((model(images).argmax(dim=1) == labels).sum())
                count += len(labels)
        accuracy = hits / count
    return accuracy


def _measure(prepare: Callable[[], Train], trials: list[Trial], processes: int) -> Measured:
    """Train ``trials`` in ``processes`` processes, dealt out in turn."""
    begun = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes + 1), context.SimpleQueue()
    shares = [trials[index::processes] for index in range(processes)]
    workers = [context.Process(target=_work, args=(prepare, share, ready, results)) for share in shares]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    accuracies = [accuracy for _ in workers for accuracy in results.get()]
    end = time.perf_counter()
    for worker in workers:
        worker.join()
    return Measured(len(trials) - processes, end - start, start - begun, accuracies)


def _work(prepare: Callable[[], Train], trials: list[Trial], ready: Any, results: Any) -> None:
    import torch

    from throughput.by_hand import load_data

    torch.set_num_threads(1)
    train, data = prepare(), load_data()
    accuracies = [train(trials[0], *data)]
    ready.wait()
    results.put(accuracies + [train(trial, *data) for trial in trials[1:]])
