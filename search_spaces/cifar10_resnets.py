"""Residual networks of five depths and four widths on CIFAR-10.

The data set is looked for in ./data; --set data.root=/elsewhere names another place, and --set data.download=true
downloads it there.
"""

from nnray import Sweep, grid

sweep = Sweep(
    name="cifar10-resnets",
    base="base/cifar10_resnets.yaml",
    space={"model.depth": grid(20, 32, 44, 56, 110), "model.width": grid(16, 32, 64, 128)},
    metric="val_acc",
    mode="max",
)
