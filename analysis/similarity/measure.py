"""What every measure of two sets of activations has in common.

A measure is computed in two steps: each set becomes a summary (an orthonormal basis, a Gram matrix, ranks of
dissimilarities, ...), and two summaries make a value. All pairs of many layers then cost one summary per layer, and
what is left for a pair is cheap. Intervals over resampled stimuli fit in between: what is kept of a set of activations
can be cut to any choice of its samples before it is summarised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from analysis.arrays import Array, centred, features, in_sample_space, same_samples

Tensors = dict[str, torch.Tensor]
"""What is known of one set of activations."""

SAMPLE = "sample"
"""The key under which :meth:`PairMeasure.chosen` tells which sample each row is of."""


class PairMeasure(ABC):
    """A measure of two sets of activations of the same samples.

    Subclasses are frozen dataclasses whose fields are the measure's options, and refuse bad ones by a ValueError.

    Attributes:
        title: How errors call it.
        symmetric: Whether the order of the two sets does not matter.
    """

    title: ClassVar[str]
    symmetric: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What folders are called after it."""
        return type(self).__name__.lower()

    @property
    def fewest(self) -> int:
        """The fewest samples it can do with."""
        return 2

    def __call__(self, x: Array, y: Array) -> float:
        """Return the measure of two sets of activations, ``samples x ...`` each.

        Raises:
            ValueError: If the numbers of samples differ or are too small, a value is not finite, or the measure is not
                defined for these activations.
        """
        same_samples(features(x), features(y), self.fewest, self.title)
        first, second = (self.summary(self.kept(values), name) for values, name in ((x, "x"), (y, "y")))
        return self.between(first, second)

    def kept(self, x: Array) -> Tensors:
        """Return what of ``samples x ...`` activations the measure depends on, for any choice of samples.

        By default centred features turned into at most as many dimensions as there are samples: enough for what
        depends on inner products alone.
        """
        return {"x": in_sample_space(centred(x))}

    def chosen(self, kept: Tensors, index: torch.Tensor) -> Tensors:
        """Return what is kept of some samples, of which some may be there more than once.

        Args:
            kept: Of all samples.
            index: Places of the samples, ``(m,)`` integers.
        """
        return {key: values[index] for key, values in kept.items()} | {SAMPLE: index}

    @abstractmethod
    def summary(self, kept: Tensors, name: str = "the layer") -> Tensors:
        """Return what is needed to compare a set of activations to others.

        Args:
            kept: What :meth:`kept` or :meth:`chosen` returned.
            name: How errors call the activations.

        Raises:
            ValueError: If the measure is not defined for these activations.
        """

    @abstractmethod
    def between(self, a: Tensors, b: Tensors) -> float:
        """Return the measure of two sets of activations by their summaries.

        Raises:
            ValueError: If the measure is not defined for the two together.
        """
