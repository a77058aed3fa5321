"""What a person sees of a single trial: a line per epoch."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console

from nnray.store.record import readable_record
from nnray.sweep.planning.plan import PlannedTrial
from nnray.sweep.queue import Result
from nnray.trial.paths import TrialPaths


def failure_line(paths: TrialPaths) -> str:
    """Return why a trial failed, and where more of it stands."""
    record = readable_record(paths)
    return f"failed: {record.error if record and record.error else 'for no known reason'}; see {paths.log}"


class EpochLines:
    """An observer that prints a line per epoch; to be used in a ``with`` statement."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> EpochLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was opened."""

    def started(self, trial: PlannedTrial) -> None:
        """The command has said so."""

    def epoch_ended(self, trial: PlannedTrial, epoch: int, metrics: dict[str, float]) -> None:
        """Print the epoch's metrics."""
        total = trial.configuration.values["trainer"]["max_epochs"]
        figures = " ".join(f"{name}={value:.4g}" for name, value in sorted(metrics.items()))
        self._say(f"epoch {epoch + 1}/{total} {figures}")

    def ended(self, trial: PlannedTrial, result: Result) -> None:
        """Print how it ended, why if it failed, and where its files are."""
        self._say(failure_line(trial.paths) if result == "failed" else f"{result}: {trial.paths.folder}")

    def left(self, trial: PlannedTrial, why: str) -> None:
        """Print why it has no result yet."""
        self._say(f"{why}: {trial.paths.folder}")

    def waiting(self, elsewhere: int) -> None:
        """The command has said so."""

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
