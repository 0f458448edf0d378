"""A loss of squares taken apart: residuals, and how they change with all parameters, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.core.loss import Loss
from nnkit.core.loss.weights import RowWeights
from nnkit.engine.critical import check
from nnkit.engine.workers import Team
from nnkit.errors import ParameterError
from nnkit.network import Network
from nnkit.training.row_pass import RowPass, Together
from nnkit.training.tangent import Block, Factors, Room, Tangent, Written

__all__ = ["Residuals"]

Weights = dict[str, NDArray[np.float64] | None]


class Residuals:
    """The loss as sum r**2 / 2, at the numbers that a net has now.

    Of a term l(p) with the weight c it is r = sign(l') sqrt(2 c l) (the square-root trick), so that r**2 / 2 = c l and
    r r' = c l', with r' = sqrt(c) |l'| / sqrt(2 l). Where l is too near to 0 for that quotient, r' = sqrt(c l''(0)), and r is
    c l' / r'. So J' r is the gradient of the loss everywhere. Of a squared error, r is a multiple of the error.

    Attributes
    ----------
    terms : how many there are that count
    shape : outputs and rows: there is one for each, 0 where a row weighs nothing
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
        self.shape = sum(map(prod, out_shapes.values())), len(rows)
        self._network, self._seen, self._room = network, np.zeros(0, network.dtype), Room()

    def now(self, team: Team | None = None) -> tuple[float, NDArray[np.float64]]:
        """The loss, infinite where it is not finite, and r, (outputs * rows,)."""
        value, found = 0.0, np.empty(self.shape)
        for piece in self._forward(team):
            _, found[:, piece], loss = self._of_block(piece)
            value += loss
        return value if np.isfinite(found).all() else np.inf, found.ravel()

    def tangent(self, team: Team | None = None, *, wide: bool) -> Tangent:
        """What they are near here; the net has to be here for what is asked of it."""
        return Tangent(*self.now(team), partial(self._linear, team), self.shape, wide=wide, room=self._room)

    def _linear(self, team: Team | None) -> Iterator[tuple[slice, Block]]:
        """The derivatives of r for one block of rows after the other."""
        passes = self._passes
        for piece in self._forward(team):
            count = piece.stop - piece.start
            seeds = passes.each_output(self._of_block(piece)[0], count)
            if isinstance(passes, Together):
                yield piece, self._factors(passes, seeds, count, team)
            else:
                jacobian = np.empty((self.shape[0], count, passes.size))
                for seed, rows in zip(seeds, jacobian, strict=True):
                    passes.pull(seed, rows, team)
                yield piece, Written(jacobian)

    def _factors(self, passes: Together, seeds: Iterator[Any], count: int, team: Team | None) -> Factors:
        """J of a dense net."""
        inputs, deltas = [], []
        for x, delta, shapes in passes.layers:
            ones = np.ones((1, count))
            inputs.append(np.concatenate([x[:count].T if len(shape) > 1 else ones for shape in shapes]).astype(np.float64))
            deltas.append(np.empty((self.shape[0], delta.shape[1], count)))
        for k, seed in enumerate(seeds):
            passes.backward(seed, count, team)
            for (_, delta, _), kept in zip(passes.layers, deltas, strict=True):
                kept[k] = delta[:count].T
        return Factors(inputs, deltas, self._room)

    def _forward(self, team: Team | None) -> Iterator[slice]:
        """Forward passes over all blocks; none where the only block is what has been looked at last."""
        vector, whole = self._network.vector, slice(0, self.shape[1])
        if self._passes.block == self.shape[1]:
            if not np.array_equal(vector, self._seen):
                self._seen = np.zeros(0, vector.dtype)  # should the pass end by an error
                list(self._passes.blocks(team))
                self._seen = vector.copy()
            yield whole
            return
        for piece in self._passes.blocks(team):
            check()  # Ctrl-C, which should not have to wait for all blocks
            yield piece

    def _of_block(self, piece: slice) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], float]:
        """|r'| of each number of these rows by outputs, r itself (outputs, rows), and their share of the loss."""
        passes, count, total = self._passes, piece.stop - piece.start, 0.0
        rates, found = {}, []
        for name, weight in self._weights.items():
            shares, slope = weight[piece], passes.slopes[name][:count].astype(np.float64)
            rate = rates[name] = np.sqrt(shares) * self._rates(name, count)
            found.append(np.divide(shares * slope, rate, out=np.zeros_like(slope), where=rate > 0.0).T)
            total += float((shares * passes.losses[name][:count]).sum())
        return rates, np.concatenate(found), total

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
