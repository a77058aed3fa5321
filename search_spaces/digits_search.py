"""A search instead of a grid: Optuna proposes 40 networks for scikit-learn's digits, each from what came out before.

Needs Optuna: pip install 'nnray[search]'.
"""

from ray import tune

from nnray import Sweep, grid

sweep = Sweep(
    name="digits-search",
    base="base/digits.yaml",
    space={
        "model": grid("SimpleCNN", "MLP"),  # a grid is a choice here
        "model.width": tune.qlograndint(8, 64, 4),
        "optimizer.lr": tune.loguniform(1e-4, 1e-1),
        "optimizer.weight_decay": tune.loguniform(1e-5, 1e-1),
        "task.label_smoothing": tune.uniform(0.0, 0.2),
        "trainer.max_epochs": 5,
    },
    search={"name": "optuna", "sampler": "tpe", "seed": 0},
    num_samples=40,
    metric="val_acc",
    mode="max",
)
