"""The trials that every side trains: two convolutions on scikit-learn's digits, three epochs, batches of 128."""

from __future__ import annotations

from dataclasses import dataclass

EPOCHS = 3
BATCH_SIZE = 128
WIDTHS = (8, 16)
LEARNING_RATES = (0.003, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Trial:
    """What varies from trial to trial."""

    width: int
    lr: float
    seed: int


def grid(count: int) -> list[Trial]:
    """Return ``count`` trials: widths by learning rates by as many seeds as it takes."""
    per_seed = len(WIDTHS) * len(LEARNING_RATES)
    return [
        Trial(
            width=WIDTHS[index % len(WIDTHS)],
            lr=LEARNING_RATES[index // len(WIDTHS) % len(LEARNING_RATES)],
            seed=index // per_seed,
        )
        for index in range(count)
    ]


@dataclass(frozen=True)
class Measured:
    """What a side did.

    Attributes:
        trials: Trials that were counted: those that ended after each process had ended its first.
        seconds: From that moment until everything was done.
        startup_s: From the start of the side to that moment.
        val_acc: What every trial of the side, counted or not, has learnt: its last validation accuracy.
    """

    trials: int
    seconds: float
    startup_s: float
    val_acc: list[float]

    @property
    def s_per_trial(self) -> float:
        """Seconds of the clock per trial that was counted."""
        return self.seconds / self.trials
