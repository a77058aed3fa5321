"""Networks for `nnray analyze frankenstein`: four that differ in their seed alone, and one that never learns.

The one with a learning rate of zero keeps its initial weights: what a stitching layer achieves by itself shows behind
its layers.
"""

from nnray import Sweep, grid

NETWORK = {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 16, "depth": 3, "batch_norm": True}}

sweep = Sweep(
    name="frankenstein",
    base="base/digits.yaml",
    trials=[{"seed": seed, "optimizer.lr": 0.003} for seed in range(4)] + [{"seed": 4, "optimizer.lr": 0.0}],
    space={"model": grid(NETWORK)},
    metric="val_acc",
    mode="max",
)
