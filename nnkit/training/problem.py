"""What a trainer works on: the loss of a fit on all its rows, at the place where the net is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.critical import check
from nnkit.engine.workers import Team
from nnkit.errors import NonFiniteError, ParameterError
from nnkit.training.objective import Objective
from nnkit.training.residuals import Residuals
from nnkit.training.tangent import Tangent

__all__ = ["AllRows"]


class AllRows:
    """The `nnkit.core.trainer.Problem` of a fit.

    Parameters
    ----------
    residuals : where the loss is to be taken apart into squares
    diagnosed : makes the error that says what is not finite
    """

    def __init__(self, objective: Objective, residuals: Residuals | None, diagnosed: Callable[[], NonFiniteError]) -> None:
        self._objective, self._residuals, self._diagnosed = objective, residuals, diagnosed
        self.team: Team | None = None
        self.size, self._real = objective.size, objective.gradient.dtype
        self.terms = 0 if residuals is None else residuals.terms

    def position(self) -> NDArray[np.float64]:
        return self._objective.position()

    def move(self, theta: NDArray[np.float64]) -> None:
        self._objective.move(theta)
        theta[...] = theta.astype(self._real, copy=False)

    def value(self) -> float:
        check()  # Ctrl-C, which an iteration of many passes should not have to wait for
        return self._objective.value(self.team)

    def value_and_grad(self, out: NDArray[np.float64]) -> float:
        check()
        value = self._objective.value_and_grad(out, self.team)
        return value if np.isfinite(out).all() else np.inf

    def residuals(self) -> tuple[float, NDArray[np.float64]]:
        check()
        return self._squares.now(self.team)

    def tangent(self, *, wide: bool) -> Tangent:
        check()
        return self._squares.tangent(self.team, wide=wide)

    @property
    def _squares(self) -> Residuals:
        if self._residuals is None:
            raise ParameterError("residuals: expected a trainer that says squares = True, as it asks for them")
        return self._residuals

    def not_finite(self) -> NonFiniteError:
        return self._diagnosed()
