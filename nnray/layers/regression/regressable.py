"""The contract of all layers that can be fit by least squares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Self

import torch
from torch import Tensor, nn

from nnray.errors import ConfigurationError, DataError
from nnray.layers.regression.moments import CUTOFF, Moments, NormalEquations


class Regressable(nn.Module, ABC):
    """A layer y = W x + b that can be fit to examples of its inputs and outputs, as well as trained.

    Its matrix W is of some form (full, of low rank, orthogonal, ...), which training keeps. Fitting sets the parameters
    to those of this form that minimise

        Σ ‖y − W x − b‖² + ridge ‖W‖²

    over all examples; the bias is not penalised, as in scikit-learn's `Ridge`, whose `alpha` is `ridge`.

        >>> layer.fit((x, y) for x, y in batches)            # all at once, or
        >>> for x, y in batches:
        ...     layer.accumulate(x, y)                       # batch by batch,
        >>> layer.solve()                                    # and then as often as you like, with any ridge
        >>> layer.solve(ridge=1.0)

    An example is one row of features, one token, or one position of an image.

    **Method and precision.** `accumulate` adds up, in float64 on the device of the data, the sums of squares and
    products about the running means (`nnray.layers.regression.moments`), p² + p q numbers for p inputs (channels times
    kernel positions) and q outputs, however many examples there are. It never waits for a GPU. `solve` solves the
    normal equations by an eigendecomposition, p³ operations. Directions of the inputs are ignored whose singular value
    is below `cutoff` times the largest; so dead and redundant units do no harm, and of many best solutions the result
    is that of least norm. Normal equations square the condition number κ ≤ 1 / `cutoff` of what remains: W, and
    predictions that lean on the weakest directions, are good to about 2e-16 κ², where a QR decomposition of all the
    data at once would reach 2e-16 κ. That the inputs themselves were rounded to float32 changes W by about 6e-8 κ,
    which is more for every κ up to 1e8. For float64 data the cut-off can be lowered to about 1e-7, not further.

    What is gathered survives `deepcopy` and `pickle`, is no part of `state_dict()`, and is dropped by `reset`.
    """

    bias: nn.Parameter | None

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self._shape = (outputs, inputs)
        self._moments: Moments | None = None
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @abstractmethod
    def matrix(self) -> Tensor:
        """Return W (outputs x inputs), differentiable in the parameters."""

    @abstractmethod
    def _rows(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Check shapes, and cut a batch into pairs of matrices (examples x inputs, examples x outputs), float64."""

    @abstractmethod
    def _set_matrix(self, equations: NormalEquations) -> None:
        """Set the parameters in place such that `matrix()` is the best of its form, up to their precision."""

    @torch.no_grad()
    def accumulate(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of examples to what `solve` fits the layer to.

        Args:
            x: Inputs, as the layer takes them, of any floating dtype.
            y: What the layer should return for them.

        Raises:
            DataError: The shapes don't fit the layer or each other.
        """
        for rows_x, rows_y in self._rows(x, y):
            if len(rows_x):
                part = Moments.of(rows_x, rows_y)
                self._moments = part if self._moments is None else self._moments.joined(part)

    @torch.no_grad()
    def solve(self, *, ridge: float = 0.0, cutoff: float = CUTOFF) -> Self:
        """Set the parameters to the best fit to all examples since the layer was made, or `reset`.

        Parameters are changed in place, so that optimizers keep theirs; a frozen one too.

        Args:
            ridge: Weight of the penalty ‖W‖².
            cutoff: Relative cut-off of the singular values of the inputs.

        Returns:
            The layer itself.

        Raises:
            ConfigurationError: `ridge` is negative, or `cutoff` is not in [0, 1).
            DataError: There are no examples, or they contain infinities or NaN.
        """
        if not ridge >= 0:
            raise ConfigurationError(f"ridge must not be negative, got {ridge}")
        if not 0 <= cutoff < 1:
            raise ConfigurationError(f"cutoff must be at least 0 and less than 1, got {cutoff}")
        kind = type(self).__name__
        if self._moments is None:
            raise DataError(f"{kind} has no examples to be fit to: call accumulate(x, y) before solve()")
        equations = self._moments.normal_equations(self.bias is not None, ridge, cutoff)
        if not (equations.gram.isfinite().all() and equations.cross.isfinite().all()):
            raise DataError(f"{kind} cannot be fit: the examples contain infinities or NaN")
        self._set_matrix(equations)
        if self.bias is not None:
            # From the matrix as it was rounded: what rounding did at the means is made good here.
            mean_x, mean_y = self._moments.mean_x, self._moments.mean_y
            self.bias.copy_(mean_y - self.matrix().to(mean_x) @ mean_x)
        return self

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]], *, ridge: float = 0.0, cutoff: float = CUTOFF) -> Self:
        """Fit the layer to all batches, and to nothing else: what was gathered before is dropped, and so is this.

        Args:
            batches: Pairs of inputs and outputs, as `accumulate` takes them.
            ridge: As in `solve`.
            cutoff: As in `solve`.

        Returns:
            The layer itself.

        Raises:
            ConfigurationError: As `solve` does.
            DataError: A batch is not a pair, or as `accumulate` and `solve` do.
        """
        self.reset()
        try:
            for batch in batches:
                if not isinstance(batch, tuple | list) or len(batch) != 2:
                    raise DataError(f"{type(self).__name__} is fit to pairs of inputs and outputs, such as [(x, y)]")
                self.accumulate(*batch)
            return self.solve(ridge=ridge, cutoff=cutoff)
        finally:
            self.reset()

    def reset(self) -> None:
        """Drop what was gathered; the parameters stay."""
        self._moments = None


def check_size(minimum: int = 1, maximum: int | None = None, **arguments: int) -> None:
    """Raise a ConfigurationError unless all arguments, given by their names, are within the limits."""
    for name, value in arguments.items():
        if value < minimum:
            raise ConfigurationError(f"{name} must be at least {minimum}, got {value}")
        if maximum is not None and value > maximum:
            raise ConfigurationError(f"{name} must be at most {maximum}, got {value}")
