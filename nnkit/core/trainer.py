"""The contract of a trainer: an optimizer that takes all rows at once, and searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Part
from nnkit.core.registry import Registry
from nnkit.errors import NonFiniteError

__all__ = ["Iteration", "Problem", "Tangent", "Trainer"]

Vector = NDArray[np.float64]


class Problem(Protocol):
    """What a trainer sees of a fit: a loss on all rows that is to be made small, at the place where the net is.

    Attributes
    ----------
    size : trained numbers of the net
    terms : squares that the loss is a sum of, where it is one
    """

    size: int
    terms: int

    def position(self) -> Vector:
        """Where the net is: its trained numbers, a copy."""

    def move(self, theta: Vector) -> None:
        """Let the net be there; ``theta`` is rounded as the net's dtype says."""

    def value(self) -> float:
        """The loss here; infinite where it is not finite."""

    def value_and_grad(self, out: Vector) -> float:
        """The loss here, and its gradient, written to ``out``; infinite where one of them is not finite."""

    def residuals(self) -> tuple[float, Vector]:
        """The loss here, infinite where it is not finite, and the residuals r: the loss is sum r**2 / 2."""

    def tangent(self, *, wide: bool) -> Tangent:
        """What the residuals are near here, to first order, with JJ' where ``wide``, else with J'J."""

    def not_finite(self) -> NonFiniteError:
        """The error that says what of the loss, or of its gradient, is not finite here."""


class Tangent(Protocol):
    """What residuals are near a place, to first order: r + J s, of a step s. The net has to be there for `push` and `pull`.

    Attributes
    ----------
    value : the loss there, infinite where it is not finite
    gradient : J'r, without a penalty
    curvature : J'J (size, size), or JJ' (residuals, residuals)
    """

    value: float
    gradient: Vector
    curvature: NDArray[np.float64]

    def copied(self) -> NDArray[np.float64]:
        """The curvature, to be written over; in the memory of the last such copy."""

    def push(self, v: Vector) -> Vector:
        """J v."""

    def pull(self, u: Vector) -> Vector:
        """J'u."""


@dataclass(frozen=True)
class Iteration:
    """What an iteration has come to.

    Attributes
    ----------
    loss : without the penalty
    figures : by the trainer's `Trainer.figures`
    stopping : why training is to end, or ""
    """

    loss: float
    figures: Mapping[str, float] = field(default_factory=dict)
    stopping: str = ""


@dataclass(repr=False, eq=False)
class Trainer(Part):
    """Training on all rows at once, an iteration after the other: ``optimizer="lbfgs"``, wherever an optimizer is asked for.

    An epoch of the fit is an iteration, and a step is, too; there are no batches, no learning rate and no schedule. After each
    come validation, metrics, callbacks and checkpoints, as after any epoch. The loss has to stay the same function of the
    parameters from one look at it to the next: layers that draw numbers in training, or that follow the statistics of batches,
    are refused.

    Vectors are float64, the net computes in its own dtype. With ``dtype="float64"`` (`Sequential.build`) minima are found as
    exactly as the trainer is asked to.

    Parameters
    ----------
    weight_decay : float >= 0, an L2 penalty: weight_decay / 2 * sum of squares of all parameters is added to the loss
    max_iter : int >= 1, iterations at most; ``epochs`` of `Sequential.fit` is another limit
    max_fail : int >= 0, optional: epochs without a better loss on validation data that end training

    Hooks
    -----
    What a trainer may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one, which
    may be overridden, and is described below.

    =============  =======  ====================================================================================================
    hook           default  what it is
    =============  =======  ====================================================================================================
    iterate        needed   method: one iteration on a `Problem`; it leaves the net where it has come to
    states         method   arrays that are kept from iteration to iteration, and in checkpoints: lengths by name; none
    figures        ()       names of what `iterate` notes beside the loss, for the history
    squares        False    it asks for residuals: the loss has to be made of squares (see `nnkit.Loss`)
    max_fail       None     where there are validation data, training ends after so many epochs without a better loss there, and
                            the best parameters come back; None: it does not
    memory         method   bytes that an iteration needs for its matrices: 0; beyond 4 GB, a fit refuses to begin
    check          method   refuses hyper-parameters out of range; who overrides it calls ``super().check()``
    examples       method   class method: ready-made ones; one with its defaults, where the constructor needs no arguments
    acts_outside   False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere      ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    =============  =======  ====================================================================================================

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class Steepest(nn.Trainer):
    ...     def iterate(self, problem, states):
    ...         theta, gradient = problem.position(), np.zeros(problem.size)
    ...         loss, rate = problem.value_and_grad(gradient), 1.0
    ...         while True:  # halve the step until it goes down
    ...             problem.move(theta - rate * gradient)
    ...             if problem.value() <= loss or rate < 1e-9:
    ...                 return nn.Iteration(problem.value())
    ...             rate /= 2
    >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], optimizer=Steepest(), epochs=20)
    >>> history["loss"][-1] < history["loss"][0]
    True
    """

    registry: ClassVar[Registry[Any]] = Registry("trainer", within=Optimizer.registry)
    needed = ("iterate",)
    hooks = (*Part.hooks, "iterate", "states", "figures", "squares", "max_fail", "memory", "check")

    figures: ClassVar[tuple[str, ...]] = ()
    squares: ClassVar[bool] = False
    max_fail: int | None = None

    _: KW_ONLY
    weight_decay: float = 0.0
    max_iter: int = 1000

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse hyper-parameters out of range; the constructor and `fit` call it."""
        self.require_number("weight_decay", 0.0)
        self.require_size("max_iter")

    def states(self, size: int) -> dict[str, int]:
        """How long the arrays are that it keeps, by name, for so many parameters; zeros at first."""
        return {}

    def memory(self, size: int, terms: int) -> int:
        """Bytes that an iteration needs for its matrices, of so many parameters and residuals."""
        return 0

    def iterate(self, problem: Problem, states: dict[str, Vector]) -> Iteration:
        """Go on from where the net is, and leave it where that has led.

        Raises
        ------
        NonFiniteError
            The loss is not finite where the net is.
        """
        raise NotImplementedError
