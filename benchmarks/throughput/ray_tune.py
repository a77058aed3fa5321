"""Side (b): Ray Tune as its users write it, with Lightning and MLflow, everything at its default."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from throughput.grid import EPOCHS, Measured, Trial


def train(config: dict[str, Any]) -> None:
    """Train one trial; the function trainable."""
    import lightning.pytorch as pl
    import torch
    from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback

    from throughput.by_hand import load_data, loaders
    from throughput.lightning_task import Task

    torch.set_num_threads(1)
    pl.seed_everything(config["seed"], verbose=False)
    report = TuneReportCheckpointCallback(["train_loss", "train_acc", "val_loss", "val_acc"], on="train_epoch_end")
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", enable_progress_bar=False, callbacks=[report])
    trainer.fit(Task(config["width"], config["lr"]), *loaders(*load_data()))


def tune_sweep(trials: list[Trial], processes: int) -> Measured:
    """Measure side (b): the clock starts when as many trials have ended as run at a time."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    class Clock(tune.Callback):
        def __init__(self) -> None:
            self.ended: list[float] = []

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.ended.append(time.perf_counter())

    here = str(Path(__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    begun = time.perf_counter()
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=processes,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    try:
        # Tune prints tables of its own; they are written as for a person, but would drown the benchmark's lines.
        with (
            tempfile.TemporaryDirectory(prefix="nnray-benchmark-") as folder,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            clock = Clock()
            books = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="throughput")
            tuner = tune.Tuner(
                train,
                param_space=tune.grid_search([vars(trial) for trial in trials]),
                run_config=tune.RunConfig(storage_path=folder, name="throughput", callbacks=[books, clock]),
            )
            results = tuner.fit()
            end = time.perf_counter()
            if results.num_errors:
                raise results.errors[0]
            accuracies = [result.metrics["val_acc"] for result in results]
    finally:
        ray.shutdown()
    start = clock.ended[processes - 1]
    return Measured(len(trials) - processes, end - start, start - begun, accuracies)
