"""What runs in a Ray worker: PyTorch and Lightning are imported once, the data set is kept, and trials follow."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.store.metrics_log import Row, metrics_of
from nnray.trial.paths import TrialPaths

if TYPE_CHECKING:
    from nnray.sweep.code_snapshot import CodeSnapshot
    from nnray.training.runner import Run

_REPORT_EVERY_S = 0.5
_warm = False


def train(config: dict[str, Any], run: Run, code: CodeSnapshot) -> None:
    """Train one trial; a Ray Tune function trainable.

    Args:
        config: ``folder`` of the trial, its ``signature`` (for the driver) and its resolved ``configuration`` as YAML.
        run: How the command wants it run.
        code: The modules of a person's own as they were when the command started.
    """
    from ray import tune

    _warm_up(code)
    from nnray.training.runner import run_trial
    from nnray.trial import resolve
    from nnray.trial.yaml_loader import load_yaml

    reported = time.monotonic()

    def report_epoch(row: Row) -> None:
        # A report waits for Tune's controller; more of them than people can read would only hold small trials up.
        nonlocal reported
        if time.monotonic() - reported >= _REPORT_EVERY_S:
            tune.report({"epoch": row["epoch"], "metrics": metrics_of(row)})
            reported = time.monotonic()

    try:
        configuration = resolve(load_yaml(config["configuration"]))
        outcome = run_trial(TrialPaths(Path(config["folder"])), configuration, run, report_epoch)
    except Exception as error:  # not the trial's own failure: a module that this host lacks, a full disk
        line = " ".join(f"{type(error).__name__}: {error}".split())
        tune.report({"outcome": "failed", "error": line, "done": True})
    else:
        tune.report({"outcome": outcome, "done": True})


def _warm_up(code: CodeSnapshot) -> None:
    global _warm
    if _warm:
        return
    code.activate()
    if not _has_gpu():
        # PyTorch's optimizers ask for accelerators at every step, which loads NVIDIA's library each time it is asked.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import nnray.training.runner
    import nnray.trial.components  # noqa: F401

    gc.collect()
    gc.freeze()  # what the imports made lives as long as the worker: looking through it took 0.2 s a collection
    _warm = True


def _has_gpu() -> bool:
    import ray

    return bool(ray.get_gpu_ids())
