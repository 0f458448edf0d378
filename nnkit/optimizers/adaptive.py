"""Steps whose sizes come from the squares of past gradients."""

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

__all__ = ["Adadelta", "Adagrad", "RMSprop"]

Numbers = NDArray[np.float64]


@register("adagrad")
@dataclass(repr=False, eq=False)
class Adagrad(Optimizer):
    """Step sizes from all past gradients: s <- s + g**2, w <- w - lr g / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float > 0
    lr_decay : float >= 0; lr is divided by 1 + lr_decay (t - 1)
    initial_accumulator_value : float >= 0, s at first
    eps : float > 0
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Adagrad(lr=0.1, eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.0667, -0.0358, -0.1074])
    >>> walk(nn.Adagrad(lr=0.1, lr_decay=0.5, initial_accumulator_value=3.0), [1.0, -0.5, 2.0]).round(4)
    array([-0.05  , -0.0338, -0.0686])

    References
    ----------
    Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization".
    """

    lr: float = 1e-2
    _: KW_ONLY
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    states = ("square",)
    rate = None  # a coefficient with lr_decay
    elsewhere = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def check(self) -> None:
        super().check()
        self.require_number("lr_decay", 0.0)
        self.require_number("initial_accumulator_value", 0.0)
        self.require_eps()

    @property
    def initial(self) -> float | None:
        """What is added to s; None: nothing."""
        return self.initial_accumulator_value or None

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        if isinstance(self.lr_decay, int | float) and self.lr_decay == 0:
            return {}
        return {"rate": lr / (1 + self.lr_decay * (step - 1))}

    @staticmethod
    def update(value, grad, square, lr, rate, initial, eps):
        length = lr if rate is None else rate
        for i in range(value.shape[0]):
            square[i] += grad[i] * grad[i]
            value[i] -= length * grad[i] / (np.sqrt(square[i] if initial is None else square[i] + initial) + eps)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.1, lr_decay=1e-3, initial_accumulator_value=0.1))]


@register("adadelta")
@dataclass(repr=False, eq=False)
class Adadelta(Optimizer):
    """Steps in the parameters' own unit: d = g sqrt(u + eps) / sqrt(s + eps), w <- w - lr d.

    s and u are running means of g**2 and of d**2, with a share of 1 - rho for what is new: s that of this step, u that of the
    one before.

    Parameters
    ----------
    lr : float > 0
    rho : float in [0, 1)
    eps : float > 0; the first steps are about its root long
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Adadelta(rho=0.5, eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.7071, -0.2442, -1.2881])

    References
    ----------
    Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1.
    """

    lr: float = 1.0
    _: KW_ONLY
    rho: float = 0.9
    eps: float = 1e-6

    states = ("square", "moved")

    def check(self) -> None:
        super().check()
        self.require_number("rho", 0.0, 1.0, below=True)
        self.require_eps()

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        return {"fresh": 1 - self.rho}

    @staticmethod
    def update(value, grad, square, moved, lr, rho, fresh, eps):
        for i in range(value.shape[0]):
            square[i] = rho * square[i] + fresh * grad[i] * grad[i]
            move = np.sqrt(moved[i] + eps) / np.sqrt(square[i] + eps) * grad[i]
            moved[i] = rho * moved[i] + fresh * move * move
            value[i] -= lr * move

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.5, rho=0.8, eps=1e-3))]


@register("rmsprop")
@dataclass(repr=False, eq=False)
class RMSprop(Optimizer):
    """Step sizes from recent gradients: s <- a s + (1 - a) g**2, v <- momentum v + g / (sqrt(s) + eps), w <- w - lr v.

    With ``centered``, s - m**2 stands for s in the root: the variance of g, where m <- a m + (1 - a) g is its mean.

    Parameters
    ----------
    lr : float > 0
    alpha : float in [0, 1), a
    eps : float > 0
    momentum : float in [0, 1), or a `Schedule` of it
    centered : bool
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.RMSprop(lr=0.1, alpha=0.9, eps=0.5, momentum=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.1225, -0.1242, -0.2904])
    >>> walk(nn.RMSprop(lr=0.1, alpha=0.9, eps=0.5, centered=True), [1.0, -0.5, 2.0], of="mean").round(4)
    array([0.1  , 0.04 , 0.236])
    >>> walk(nn.RMSprop(lr=0.1, alpha=0.9, eps=0.1, centered=True), [0.1, -0.05, 0.2]).round(4)
    array([-0.0769, -0.0395, -0.1593])

    References
    ----------
    Hinton 2012, "Neural networks for machine learning", lecture 6e; Graves 2013, "Generating sequences with recurrent neural
    networks", eq. 38 to 45, for the centered one.
    """

    lr: float = 1e-2
    _: KW_ONLY
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float | Schedule = 0.0
    centered: bool = False

    states = ("square", "velocity", "mean")
    optional = (("mean", "centered"),)
    elsewhere = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")

    def check(self) -> None:
        super().check()
        self.require_number("alpha", 0.0, 1.0, below=True)
        self.require_eps()
        self.require_number("momentum", 0.0, 1.0, below=True)

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        return {"fresh": 1 - self.alpha}

    @staticmethod
    def update(value, grad, square, velocity, mean, lr, alpha, fresh, eps, momentum):
        for i in range(value.shape[0]):
            square[i] = alpha * square[i] + fresh * grad[i] * grad[i]
            if mean is None:
                spread = square[i]
            else:
                mean[i] = alpha * mean[i] + fresh * grad[i]
                spread = max(square[i] - mean[i] * mean[i], 0.0)  # below 0 by rounding alone
            velocity[i] = momentum * velocity[i] + grad[i] / (np.sqrt(spread) + eps)
            value[i] -= lr * velocity[i]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(momentum=0.9)), Example(cls(alpha=0.9, centered=True))]
