"""Which recipe suits which network: optimizers, learning rates and label smoothing on scikit-learn's digits.

Each network is trained with the same twelve recipes per optimizer, drawn at random and so to be compared in pairs, and
with two seeds each. --num-samples 20 adds eight recipes and --replicates 5 three seeds to those that are there.
"""

from ray import tune

from nnray import Sweep, grid, zipped

plain = Sweep(
    name="plain",
    space={
        "model": grid("nnray.models.SimpleCNN", {"class_path": "nnray.models.MLP", "init_args": {"depth": grid(1, 2)}})
    },
)
residual = Sweep(
    name="residual",
    base={"model": {"class_path": "nnray.models.ResNet", "init_args": {"depth": 8}}},
    space={"model.width": zipped(4, 8), "data.batch_size": zipped(32, 64)},  # the wider one in larger batches
)

sweep = Sweep(
    name="digits-recipes",
    base="base/digits.yaml",
    trials=[plain, residual],
    space={
        "optimizer": grid(
            {"class_path": "AdamW", "init_args": {"lr": tune.loguniform(3e-4, 3e-2)}},
            {"class_path": "SGD", "init_args": {"lr": tune.loguniform(1e-2, 1.0), "momentum": tune.choice([0.0, 0.9])}},
        ),
        "task.label_smoothing": tune.quniform(0.0, 0.2, 0.05),
    },
    num_samples=12,
    replicates=2,
    metric="val_acc",
    mode="max",
)
