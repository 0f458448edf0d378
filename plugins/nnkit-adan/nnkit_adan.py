"""Adan for nnkit: adaptive moments of the gradient, of its change and of both."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnkit as nn

__all__ = ["Adan"]

Numbers = NDArray[np.float64]


@nn.register("adan")
@dataclass(repr=False, eq=False)
class Adan(nn.Optimizer):
    """Adaptive Nesterov momentum: Adam's moments, and one more of how the gradient changes from step to step.

    With g the gradient of step t, d = g - (g of step t - 1) its change, 0 in the first step, and u = g + b2 d:

    - m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) d, n <- b3 n + (1 - b3) u**2,
    - w <- w - lr (m' + b2 v') / (sqrt(n') + eps),

    where m' = m / (1 - b1**t), v' = v / (1 - b2**t) and n' = n / (1 - b3**t) take out the bias of the means towards their
    start, 0. Here m' + b2 v' stands for Nesterov's gradient at a point ahead, without computing one there. The betas are old
    shares, as in the authors' program; the paper's are 1 minus these.

    Weight decay is decoupled: w <- w - lr weight_decay w before the step, which is the authors' choice ``no_prox``. The paper's
    own, the proximal w <- w / (1 + lr weight_decay) after the step, differs from it by terms of second order in lr.

    Parameters
    ----------
    lr : float > 0; the authors advise 5 to 10 times that of Adam
    betas : b1, b2 and b3, in [0, 1)
    eps : float > 0
    weight_decay, clip_norm, clip_value, schedule : see `nnkit.Optimizer`

    Examples
    --------
    >>> from nnkit_adan import Adan
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(Adan(lr=0.1, eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.0667, -0.0429, -0.0799])

    References
    ----------
    Xie, Zhou, Li, Lin and Yan 2022, "Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models",
    algorithm 1.
    """

    _: KW_ONLY
    betas: tuple[float, float, float] = (0.98, 0.92, 0.99)
    eps: float = 1e-8

    states = ("m", "v", "n", "previous")
    decoupled = True

    def check(self) -> None:
        super().check()
        triple = isinstance(self.betas, tuple | list) and len(self.betas) == 3
        self.require("betas", triple and all(0 <= beta < 1 for beta in self.betas), "three numbers in [0, 1)")
        self.require_eps()

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2, beta3 = self.betas
        return {
            "beta1": beta1, "fresh1": 1 - beta1, "beta2": beta2, "fresh2": 1 - beta2, "beta3": beta3, "fresh3": 1 - beta3,
            "rate": lr / (1 - beta1**step), "rate_ahead": lr * beta2 / (1 - beta2**step),
            "unbias": 1 / np.sqrt(1 - beta3**step),
        }  # fmt: skip

    @staticmethod
    def update(
        value, grad, m, v, n, previous, step, beta1, fresh1, beta2, fresh2, beta3, fresh3, rate, rate_ahead, unbias, eps
    ):
        for i in range(value.shape[0]):
            change = grad[i] - previous[i] if step > 1.0 else 0.0
            ahead = grad[i] + beta2 * change
            m[i] = beta1 * m[i] + fresh1 * grad[i]
            v[i] = beta2 * v[i] + fresh2 * change
            n[i] = beta3 * n[i] + fresh3 * ahead * ahead
            value[i] -= (rate * m[i] + rate_ahead * v[i]) / (np.sqrt(n[i]) * unbias + eps)
            previous[i] = grad[i]
