"""Those of Csiszárik et al. 2021 for `nnray analyze frankenstein`: Tiny-10 on CIFAR-10, and one that never learns.

The data set is looked for in ./data.
"""

from nnray import Sweep, grid

sweep = Sweep(
    name="frankenstein-cifar10",
    base="base/cifar10_resnets.yaml",
    trials=[{"seed": seed, "optimizer.lr": 0.1} for seed in range(5)] + [{"seed": 5, "optimizer.lr": 0.0}],
    space={"model": grid("nnray.models.Tiny10"), "checkpoint.keep": "last"},
    metric="val_acc",
    mode="max",
)
