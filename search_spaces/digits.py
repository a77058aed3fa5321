"""The default study: small networks on scikit-learn's digits, real images that need no download.

Two architectures in two widths, two learning rates, three seeds, and a residual network beside them.
"""

from collections.abc import Iterator
from typing import Any

from nnray import Sweep, grid


def architectures() -> Iterator[dict[str, Any]]:
    """Yield the networks: what makes one wider has another name in each."""
    for width in (16, 32):
        yield {"model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": width}}}
    for width in (64, 128):
        yield {"model": {"class_path": "nnray.models.MLP", "init_args": {"width": width}}}
    yield {"model": {"class_path": "nnray.models.ResNet", "init_args": {"depth": 8, "width": 8}}}


sweep = Sweep(
    name="digits",
    base="base/digits.yaml",
    trials=architectures,
    space={"optimizer.lr": grid(0.003, 0.01), "seed": grid(range(3))},
    metric="val_acc",
    mode="max",
)
