"""What runs in a Ray worker: PyTorch and Lightning are imported once, the data set is kept, and trials follow."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnray.store.files import path_of
from nnray.store.metrics_log import Row, metrics_of
from nnray.sweep.cluster.store_probe import wait_for_folder
from nnray.trial.paths import TrialPaths

if TYPE_CHECKING:
    from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
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

    reported = time.monotonic()

    def report_now_and_then(result: dict[str, Any]) -> None:
        # A report waits for Tune's controller; more of them than people can read would only hold small trials up.
        nonlocal reported
        if time.monotonic() - reported >= _REPORT_EVERY_S or "outcome" in result:
            tune.report(result)
            reported = time.monotonic()

    train_steered(config, run, code, report_now_and_then)


def train_steered(
    config: dict[str, Any], run: Run, code: CodeSnapshot, report: Callable[[dict[str, Any]], None]
) -> None:
    """Train one trial and report ``epoch`` and ``metrics`` of every epoch, and in the end the ``outcome``.

    Args:
        config: See :func:`train`.
        run: How the command wants it run.
        code: See :func:`train`.
        report: Takes a result to Tune; raises LeaveTraining to end the trial, SystemExit if Tune has dropped it.
    """
    warm_up(code, run)
    from nnray.sweep.workers.data_parallel import WorkerDiedError, train_together
    from nnray.training.failures import cause_of
    from nnray.training.runner import run_trial
    from nnray.training.stopping import InterruptTraining
    from nnray.trial import resolve
    from nnray.trial.yaml_loader import load_yaml

    dropped = False

    def report_epoch(row: Row) -> None:
        nonlocal dropped
        try:
            report({"epoch": row["epoch"], "metrics": metrics_of(row)})
        except SystemExit:
            dropped = True
            raise InterruptTraining from None

    folder = path_of(config["folder"])
    try:
        wait_for_folder(folder)
        if config["request"]["workers"] > 1:
            outcome = train_together(config, run, code, report_epoch)
        else:
            configuration = resolve(load_yaml(config["configuration"]))
            outcome = run_trial(TrialPaths(folder), configuration, run, report_epoch)
    except WorkerDiedError:
        raise  # Tune starts the trial again, as if this process had died
    except Exception as error:  # not the trial's own failure: a module that this host lacks, a full disk
        line = " ".join(f"{type(error).__name__}: {error}".split())
        result = {"outcome": "failed", "error": line, "cause": cause_of(error), "done": True}
    else:
        result = {"outcome": outcome, "done": True}
    if not dropped:
        report(result)


def warm_up(code: CodeSnapshot, run: Run) -> None:
    """Make this process ready to train: it is done once, and takes seconds."""
    global _warm
    if _warm:
        return
    code.activate()
    if not _has_gpu():
        # PyTorch's optimizers ask for accelerators at every step, which loads NVIDIA's library each time it is asked.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import nnray.training.runner
    import nnray.trial.components  # noqa: F401
    from nnray.data.node_sharing import share_on_node

    share_on_node(f"{run.started:%Y%m%d%H%M%S%f}")
    gc.collect()
    gc.freeze()  # what the imports made lives as long as the worker: looking through it took 0.2 s a collection
    _warm = True


def _has_gpu() -> bool:
    import ray

    return bool(ray.get_gpu_ids())
