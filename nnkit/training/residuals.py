"""A loss of squares taken apart: residuals, and their derivatives by all parameters, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.core.loss import Loss
from nnkit.core.loss.weights import RowWeights
from nnkit.engine.workers import Team
from nnkit.errors import ParameterError
from nnkit.network import Network
from nnkit.training.row_pass import RowPass

__all__ = ["Residuals"]

Weights = dict[str, NDArray[np.float64] | None]


class Residuals:
    """The loss as sum r**2 / 2, at the numbers that a net has now.

    Of a term l(p) with the weight c it is r = sign(l') sqrt(2 c l) (the square-root trick), so that r**2 / 2 = c l and
    r r' = c l', with r' = sqrt(c) |l'| / sqrt(2 l). Where l is too near to 0 for that quotient, r' = sqrt(c l''(0)), and r is
    c l' / r'. So J' r is the gradient of the loss everywhere. Of a squared error, r is a multiple of the error.

    Attributes
    ----------
    terms : how many there are
    """

    def __init__(
        self, network: Network, criterion: Criterion, X: Any, y: dict[str, NDArray[Any]], weights: Weights,
        rows: NDArray[np.int64], *, who: str, workers: int = 1, python: bool = False,
    ) -> None:  # fmt: skip
        out_shapes = fields(network.out_shape)
        for loss in criterion.losses.values():
            if not loss.least_squares:
                raise ParameterError(f"{who}: expected a loss that is made of squares, such as 'mse', 'half_squared_error' or "
                                     f"'huber', got {loss!r}; train with 'adam' or 'lbfgs' for it")  # fmt: skip
        self._passes = RowPass.of(network, X, rows, losses=criterion.losses, y=y, training=True, workers=workers, python=python)
        self._curvatures = {name: _curvature(loss) for name, loss in criterion.losses.items()}
        self._weights: dict[str, NDArray[np.float64]] = {}  # of each number of a row's outputs
        self.terms = 0
        for name, loss in criterion.losses.items():
            shape, given = out_shapes[name], weights[name]
            share = RowWeights(loss, y[name][rows], shape, None if given is None else given[rows]).share
            share = np.repeat(criterion.factors[name] * share, prod(shape) // share.shape[1], axis=1)
            self._weights[name] = share
            self.terms += int(np.count_nonzero(share))
        outputs = sum(map(prod, out_shapes.values()))
        self._jacobian = np.empty((self._passes.block * outputs, self._passes.size))
        self._residual = np.empty(len(self._jacobian))

    def blocks(self, team: Team | None = None) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """(J, r) of the rows of a block, for one block after the other; the arrays are used again."""
        passes = self._passes
        for piece in passes.blocks(team):
            count, begin = piece.stop - piece.start, 0
            rates = {}
            for name, weight in self._weights.items():
                slope, root = passes.slopes[name][:count].astype(np.float64), np.sqrt(weight[piece])
                rates[name] = root * self._rates(name, count)
                residual = np.divide(weight[piece] * slope, rates[name], out=np.zeros_like(slope), where=rates[name] > 0.0)
                self._residual[begin : begin + slope.size] = residual.T.ravel()
                begin += slope.size
            begin = 0
            for seed in passes.each_output(rates, count):
                passes.pull(seed, self._jacobian[begin : begin + count], team)
                begin += count
            yield self._jacobian[:begin], self._residual[:begin]

    def _rates(self, name: str, count: int) -> NDArray[np.float64]:
        """|l'| / sqrt(2 l) of each number of these rows."""
        loss, slope = (found[name][:count] for found in (self._passes.losses, self._passes.slopes))
        curvature = self._curvatures[name]
        near = 2.0 * loss <= np.sqrt(np.finfo(loss.dtype).eps) * curvature
        rates: NDArray[Any] = np.where(near, np.sqrt(curvature), np.abs(slope) / np.sqrt(2.0 * np.where(near, 1.0, loss)))
        return rates.astype(np.float64, copy=False)


def _curvature(loss: Loss) -> float:
    """l''(0), of one number."""
    step = 1e-6
    _, slope = loss.replace(reduction="none")(np.array([[step]]), np.array([[0.0]]))
    return float(slope[0, 0]) / step
