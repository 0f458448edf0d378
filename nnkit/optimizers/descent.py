"""Steps along the gradient, or along its sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule

__all__ = ["ASGD", "SGD", "Rprop"]

Numbers = NDArray[np.float64]


@register("sgd")
@dataclass(repr=False, eq=False)
class SGD(Optimizer):
    """Gradient descent: v <- momentum v + g, w <- w - lr v; with Nesterov's look-ahead w <- w - lr (g + momentum v).

    With dampening v <- momentum v + (1 - dampening) g from the second step on.

    Parameters
    ----------
    lr : float > 0
    momentum : float in [0, 1), or a `Schedule` of it
    dampening : float in [0, 1]; 0 with ``nesterov``
    nesterov : bool
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.SGD(lr=0.1, momentum=0.9), [1.0, -0.5, 2.0]).round(4)
    array([-0.1  , -0.14 , -0.376])
    >>> walk(nn.SGD(lr=0.1), [1.0, -0.5], of="velocity")  # there is none without momentum
    array([0., 0.])
    >>> walk(nn.SGD(lr=0.1, momentum=0.9, nesterov=True), [1.0, -0.5, 2.0]).round(4)
    array([-0.19  , -0.176 , -0.5884])
    >>> walk(nn.SGD(lr=0.1, momentum=0.9, dampening=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.1   , -0.165 , -0.3235])

    References
    ----------
    Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Sutskever, Martens, Dahl and Hinton
    2013, "On the importance of initialization and momentum in deep learning" (in PyTorch's form).
    """

    lr: float = 1e-2
    _: KW_ONLY
    momentum: float | Schedule = 0.0
    dampening: float = 0.0
    nesterov: bool = False

    states = ("velocity",)
    fresh = None  # a coefficient with dampening
    elsewhere = ("lr", "momentum", "dampening", "weight_decay", "nesterov")

    def check(self) -> None:
        super().check()
        self.require_number("momentum", 0.0, 1.0, below=True)
        self.require_number("dampening", 0.0, 1.0)
        may = not self.nesterov or (self.momentum != 0 and self.dampening == 0)
        self.require("nesterov", may, "False where momentum is 0, or dampening is not")

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        if isinstance(self.dampening, int | float) and self.dampening == 0:
            return {}
        return {"fresh": np.where(step == 1, 1.0, 1 - self.dampening)}

    @staticmethod
    def update(value, grad, velocity, lr, momentum, fresh, nesterov):
        if momentum == 0.0:
            for i in range(value.shape[0]):
                value[i] -= lr * grad[i]
        elif nesterov:
            for i in range(value.shape[0]):
                velocity[i] = momentum * velocity[i] + grad[i]
                value[i] -= lr * (grad[i] + momentum * velocity[i])
        else:
            for i in range(value.shape[0]):
                velocity[i] = momentum * velocity[i] + (grad[i] if fresh is None else fresh * grad[i])
                value[i] -= lr * velocity[i]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls()), Example(cls(0.01, momentum=0.9)), Example(cls(0.01, momentum=0.9, nesterov=True)),
            Example(cls(0.01, momentum=0.8, dampening=0.5)),
        ]  # fmt: skip


@register("asgd")
@dataclass(repr=False, eq=False)
class ASGD(Optimizer):
    """Gradient descent with a falling rate that keeps the mean of where it was: averaged SGD.

    With r_t = lr / (1 + lambd lr (t - 1))**alpha, w <- (1 - lambd r_t) w - r_t g; then the state ``average`` moves to w, by all
    of the way up to step t0 + 2 and by 1 / (t - 1 - t0) of it from then on: it becomes the mean of all w from there.

    As in PyTorch, training goes on from w, and the mean stands beside it.

    Parameters
    ----------
    lr : float > 0
    lambd : float >= 0, how much of w is taken off, and how fast the rate falls
    alpha : float >= 0, the power by which the rate falls
    t0 : float >= 0, the step from which the mean is taken
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.ASGD(lr=0.1, lambd=0.5, t0=1), [1.0, -0.5, 2.0, 1.0]).round(4)
    array([-0.1   , -0.047 , -0.231 , -0.3106])
    >>> walk(nn.ASGD(lr=0.1, lambd=0.5, t0=1), [1.0, -0.5, 2.0, 1.0], of="average").round(4)
    array([-0.1   , -0.047 , -0.231 , -0.2708])

    References
    ----------
    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Bottou 2010, "Large-scale machine
    learning with stochastic gradient descent", for the rate.
    """

    lr: float = 1e-2
    _: KW_ONLY
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6

    states = ("average",)

    def check(self) -> None:
        super().check()
        for name in ("lambd", "alpha", "t0"):
            self.require_number(name, 0.0)

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        rate = lr / (1 + self.lambd * lr * (step - 1)) ** self.alpha
        return {"rate": rate, "keep": 1 - self.lambd * rate, "part": 1 / np.maximum(step - 1 - self.t0, 1.0)}

    @staticmethod
    def update(value, grad, average, rate, keep, part):
        for i in range(value.shape[0]):
            value[i] = keep * value[i] - rate * grad[i]
            average[i] = (1.0 - part) * average[i] + part * value[i]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.1, lambd=0.01, t0=2))]


@register("rprop")
@dataclass(repr=False, eq=False)
class Rprop(Optimizer):
    """Steps of each number's own size, against the sign of the gradient: resilient backpropagation.

    The size is lr at first. Where g has the sign of the g before, it is multiplied by the larger of ``etas``; where it has the
    other, by the smaller, and w stays where it is for once, with 0 noted for g. It wants the gradient of all rows: in
    batches, signs tell little.

    Parameters
    ----------
    lr : float > 0, the size of the first step; what a schedule makes of it later says nothing
    etas : two numbers, the first in (0, 1), the second above 1
    step_sizes : the least and the largest size
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Rprop(lr=0.1), [1.0, 2.0, -1.0, -1.0, -3.0, 0.0, 0.001, 0.002]).round(4)
    array([-0.1   , -0.22  , -0.22  , -0.16  , -0.088 , -0.088 , -0.16  ,
           -0.2464])

    References
    ----------
    Riedmiller and Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", in the
    form that Igel and Huesken 2000 call iRprop-.
    """

    lr: float = 1e-2
    _: KW_ONLY
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    states = ("size", "previous")

    def check(self) -> None:
        super().check()
        pair = isinstance(self.etas, tuple | list) and len(self.etas) == 2
        self.require("etas", pair and 0 < self.etas[0] < 1 < self.etas[1], "a number in (0, 1), and one above 1")
        pair = isinstance(self.step_sizes, tuple | list) and len(self.step_sizes) == 2
        self.require("step_sizes", pair and 0 <= self.step_sizes[0] <= self.step_sizes[1], "the least and the largest size")

    @staticmethod
    def update(value, grad, size, previous, lr, step, etas, step_sizes):
        for i in range(value.shape[0]):
            turn = grad[i] * previous[i]
            factor = etas[1] if turn > 0.0 else (etas[0] if turn < 0.0 else 1.0)
            now = min(max((size[i] if step > 1.0 else lr) * factor, step_sizes[0]), step_sizes[1])
            slope = 0.0 if turn < 0.0 else grad[i]
            value[i] -= (now if slope > 0.0 else 0.0) - (now if slope < 0.0 else 0.0)
            size[i] = now
            previous[i] = slope

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.1, etas=(0.6, 1.5), step_sizes=(0.01, 0.2)))]
