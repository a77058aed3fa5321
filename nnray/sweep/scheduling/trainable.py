"""A trial in a Ray worker whose epochs are all told to a scheduler, which may end it or set it aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow.fs import LocalFileSystem
from ray import tune
from ray.train._internal.session import _TrainingResult, get_session
from ray.tune.trainable import FunctionTrainable

from nnray.store.files import path_of, place_copy
from nnray.sweep.workers import worker
from nnray.training.stopping import InterruptTraining, LeaveTraining, StopTraining
from nnray.trial.paths import TrialPaths

if TYPE_CHECKING:
    from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
    from nnray.training.runner import Run


def checkpoint_at(path: Path) -> tune.Checkpoint:
    """Return a pointer for Tune to pass around; it stays the path or URI that it is, since nobody reads through it."""
    return tune.Checkpoint(str(path), LocalFileSystem())


class SteeredTrial(FunctionTrainable):
    """Trains one trial in a thread of the worker, which waits after each epoch for what the scheduler decides.

    Where Tune's own function trainable leaves a stopped trial waiting until the worker gets another one, this one lets
    it end at once: its record is written and its claim and its memory are free. The trial's folder holds what it
    continues from; Tune's checkpoints only point there.
    """

    def setup(self, config: dict[str, Any], run: Run, code: CodeSnapshot) -> None:
        """Remember how to run trials."""
        self._run_options, self._code = run, code
        self._request: type[LeaveTraining] | None = None
        self._waits = False
        super().setup(config)

    def stop_after_epoch(self) -> None:
        """Let the trial end as stopped when it is told to go on after the epoch that it has reported."""
        self._request = StopTraining

    def interrupt(self) -> None:
        """Let the trial end as one that is to be continued later; returns when it has ended."""
        self._request = InterruptTraining
        session = get_session()
        if session is not None:  # else the scheduler has let Tune stop the worker, see cleanup
            session.continue_lock.release()
            session.training_thread.join()

    def cleanup(self) -> None:
        """Let a trial that waits for the scheduler end by itself; Tune kills the worker as soon as this returns."""
        thread = get_session().training_thread if self._waits else None
        super().cleanup()
        if thread is not None:
            thread.join()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        self._request = None
        self._waits = False
        return super().reset_config(new_config)

    def save_checkpoint(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Keep the state behind the last epoch for others to continue from, and return a pointer to it."""
        paths = TrialPaths(path_of(self.config["folder"]))
        if paths.resume.exists():
            place_copy(paths.resume, paths.snapshot)
        last = self._last_training_result
        return _TrainingResult(checkpoint_at(paths.snapshot), dict(last.metrics) if last else {})

    def restore(self, checkpoint_path: Any) -> None:
        """Do nothing: the trial's folder says where to continue."""

    def _trainable_func(self, config: dict[str, Any]) -> None:
        worker.train_steered(config, self._run_options, self._code, self._report)

    def _report(self, result: dict[str, Any]) -> None:
        """Report a result, wait, and do as the scheduler wants."""
        if self._request is InterruptTraining:  # nobody listens any more
            return
        self._waits = "outcome" not in result
        tune.report(result)
        self._waits = False
        if self._request is not None and "outcome" not in result:
            raise self._request
