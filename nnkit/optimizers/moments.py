"""Steps along running means of the gradient: `Adam` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule
from nnkit.errors import ParameterError

__all__ = ["Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam"]

Numbers = NDArray[np.float64]


@dataclass(repr=False, eq=False)
class _Moments(Optimizer):
    """Two running means: m of the gradient, v of its square."""

    _: KW_ONLY
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: float = 1e-8

    states: ClassVar[tuple[str, ...]] = ("m", "v")

    def check(self) -> None:
        super().check()
        self.require_fractions("betas")
        self.require_eps()

    def means(self) -> dict[str, Any]:
        """Old and fresh share of both means. 1 - beta is computed in float64: in float32 it would lose three digits."""
        beta1, beta2 = self.betas
        return {"beta1": beta1, "fresh1": 1 - beta1, "beta2": beta2, "fresh2": 1 - beta2}


@register("adam")
@dataclass(repr=False, eq=False)
class Adam(_Moments):
    """Adaptive moments: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g**2, w <- w - lr m' / (sqrt(v') + eps).

    m' = m / (1 - b1**t) and v' = v / (1 - b2**t) take out the bias of the means towards their start, 0.

    Parameters
    ----------
    lr : float > 0
    betas : b1 and b2, in [0, 1), or schedules of them, such as ``(0.9 * nn.CosineSchedule(), 0.999)``
    eps : float > 0
    weight_decay : float >= 0, added to the gradient as an L2 penalty; `AdamW` decouples it
    amsgrad : bool; the largest v so far stands for v in the root, so that steps do not grow again
    clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Adam(lr=0.1, betas=(0.9, 0.95), eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.0667, -0.0831, -0.1303])
    >>> walk(nn.Adam(lr=0.1, betas=(0.9, 0.5), amsgrad=True), [1.0, -0.5, 2.0, 0.5]).round(4)
    array([-0.1   , -0.1258, -0.1809, -0.2308])
    >>> nn.Adam(lr=0.1, betas=(0.9 * nn.CosineSchedule(final=0.5), 0.999))  # the first falls to 0.45
    Adam(lr=0.1, betas=(0.9 * CosineSchedule(final=0.5), 0.999))

    References
    ----------
    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1; Reddi, Kale and Kumar 2018, "On the
    convergence of Adam and beyond", for amsgrad (with v before its bias is taken out, as in PyTorch).
    """

    _: KW_ONLY
    amsgrad: bool = False

    states = ("m", "v", "largest")
    optional = (("largest", "amsgrad"),)
    elsewhere = ("lr", "betas", "eps", "weight_decay", "amsgrad")

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        return {**self.means(), "rate": lr / (1 - beta1**step), "unbias": 1 / np.sqrt(1 - beta2**step)}

    @staticmethod
    def update(value, grad, m, v, largest, beta1, fresh1, beta2, fresh2, rate, unbias, eps):
        for i in range(value.shape[0]):
            m[i] = beta1 * m[i] + fresh1 * grad[i]
            v[i] = beta2 * v[i] + fresh2 * grad[i] * grad[i]
            if largest is None:
                square = v[i]
            else:
                square = max(largest[i], v[i])
                largest[i] = square
            value[i] -= rate * m[i] / (np.sqrt(square) * unbias + eps)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.01, betas=(0.8, 0.6), amsgrad=True))]


@register("adamw")
@dataclass(repr=False, eq=False)
class AdamW(Adam):
    """`Adam` with decoupled weight decay: w <- w - lr weight_decay w, then Adam's step.

    Parameters
    ----------
    lr, betas, eps, amsgrad, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : as in `Adam`
    weight_decay : float >= 0, default 0.01

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.AdamW(lr=0.1, eps=0.5, weight_decay=0.1), [1.0, -0.5, 2.0]).round(4)
    array([-0.0667, -0.0823, -0.1293])

    References
    ----------
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2 (decay times lr, as in PyTorch).
    """

    _: KW_ONLY
    weight_decay: float | Schedule = 0.01

    decoupled = True


@register("adamax")
@dataclass(repr=False, eq=False)
class Adamax(_Moments):
    """`Adam` by the largest gradient instead of a mean square: n <- max(b2 n, |g| + eps), w <- w - lr m' / n.

    Parameters
    ----------
    lr, betas, eps, weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : as in `Adam`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Adamax(lr=0.1, betas=(0.9, 0.8), eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.0667, -0.0842, -0.119 ])

    References
    ----------
    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 2 (with eps beside |g|, as in PyTorch).
    """

    lr: float = 2e-3

    states = ("m", "norm")

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        return {"beta1": beta1, "fresh1": 1 - beta1, "beta2": beta2, "rate": lr / (1 - beta1**step)}

    @staticmethod
    def update(value, grad, m, norm, beta1, fresh1, beta2, rate, eps):
        for i in range(value.shape[0]):
            m[i] = beta1 * m[i] + fresh1 * grad[i]
            norm[i] = max(beta2 * norm[i], abs(grad[i]) + eps)
            value[i] -= rate * m[i] / norm[i]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.01, betas=(0.8, 0.5), eps=1e-3))]


@lru_cache(maxsize=8)
def _products(beta: float, decay: float, count: int) -> NDArray[np.float64]:
    """NAdam's M_1, M_2, ... up to ``count`` of them, or until two are so small that 1 - M is 1."""
    steps = np.arange(1, min(count, 1 << 16) + 1)
    products = np.cumprod(beta * (1 - 0.5 * 0.96 ** (steps * decay)))
    gone = products < 2.0**-54
    if gone.any():
        return np.asarray(products[: int(gone.argmax()) + 2])
    if count <= len(products):
        return np.asarray(products)
    more = np.arange(len(products) + 1, count + 1)
    return np.concatenate([products, products[-1] * np.cumprod(beta * (1 - 0.5 * 0.96 ** (more * decay)))])


@register("nadam")
@dataclass(repr=False, eq=False)
class NAdam(_Moments):
    """`Adam` with Nesterov momentum.

    With mu_t = b1 (1 - 0.96**(t psi) / 2) and M_t = mu_1 ... mu_t,
    w <- w - lr ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})) / (sqrt(v / (1 - b2**t)) + eps).

    Parameters
    ----------
    lr, betas, eps, weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : as in `Adam`; the first of
        the betas is a number
    momentum_decay : float >= 0, psi
    decoupled_weight_decay : bool; the decay shrinks w, as in `AdamW`, instead of being added to g

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.NAdam(lr=0.1, eps=0.5), [1.0, -0.5, 2.0]).round(4)
    array([-0.0704, -0.0452, -0.1177])

    References
    ----------
    Dozat 2016, "Incorporating Nesterov momentum into Adam", with Sutskever's schedule of mu, as in PyTorch.
    """

    lr: float = 2e-3
    _: KW_ONLY
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    elsewhere = ("lr", "betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay")

    @property
    def decoupled(self) -> bool:  # type: ignore[override]
        return self.decoupled_weight_decay

    def check(self) -> None:
        super().check()
        self.require_number("momentum_decay", 0.0)

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        if np.ndim(beta1) or isinstance(beta1, Schedule):
            raise ParameterError(f"{type(self).__name__}: expected betas[0] to be a number, as every step needs the product of "
                                 "those before, got one that follows a schedule; pass cycle_momentum=False to a schedule that "
                                 "cycles it")  # fmt: skip
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (at * self.momentum_decay)) for at in (step, step + 1))
        products = _products(beta1, self.momentum_decay, 1 << int(step[-1] + 1).bit_length())
        now = np.minimum(step.astype(int) - 1, len(products) - 2)
        return {
            **self.means(),
            "rate_grad": lr * (1 - mu) / (1 - products[now]),
            "rate_mean": lr * following / (1 - products[now + 1]),
            "unbias": 1 / np.sqrt(1 - beta2**step),
        }

    @staticmethod
    def update(value, grad, m, v, beta1, fresh1, beta2, fresh2, rate_grad, rate_mean, unbias, eps):
        for i in range(value.shape[0]):
            m[i] = beta1 * m[i] + fresh1 * grad[i]
            v[i] = beta2 * v[i] + fresh2 * grad[i] * grad[i]
            value[i] -= (rate_grad * grad[i] + rate_mean * m[i]) / (np.sqrt(v[i]) * unbias + eps)


@register("radam")
@dataclass(repr=False, eq=False)
class RAdam(_Moments):
    """`Adam` that waits with its adaptive step until the variance of that step is known: rectified Adam.

    With r_inf = 2 / (1 - b2) - 1 and r = r_inf - 2 t b2**t / (1 - b2**t), where r > 5
    w <- w - lr m' R / (sqrt(v') + eps') with R**2 = (r - 4) (r - 2) r_inf / ((r_inf - 4) (r_inf - 2) r), else w <- w - lr m'.
    As in PyTorch eps is added to sqrt(v), before v' is made of v.

    Parameters
    ----------
    lr, betas, eps, weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : as in `Adam`
    decoupled_weight_decay : bool; the decay shrinks w, as in `AdamW`, instead of being added to g

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.RAdam(lr=0.1, betas=(0.5, 0.9), eps=0.5), [1.0, -0.5, 2.0, 1.0, 1.0, 1.0, 1.0]).round(4)
    array([-0.1   , -0.1   , -0.2143, -0.321 , -0.4242, -0.4378, -0.456 ])

    References
    ----------
    Liu, Jiang, He, Chen, Liu, Gao and Han 2020, "On the variance of the adaptive learning rate and beyond", algorithm 2.
    """

    _: KW_ONLY
    decoupled_weight_decay: bool = False

    elsewhere = ("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay")

    @property
    def decoupled(self) -> bool:  # type: ignore[override]
        return self.decoupled_weight_decay

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / (1 - beta2**step)
        known = length > 5
        length = np.where(known, length, 6.0)
        rectified = np.sqrt(
            np.maximum((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length), 0.0)
        )
        rate = lr / (1 - beta1**step)
        return {
            **self.means(),
            "rate_plain": np.where(known, 0.0, rate),
            "rate_adaptive": np.where(known, rate * rectified * np.sqrt(1 - beta2**step), 0.0),
        }

    @staticmethod
    def update(value, grad, m, v, beta1, fresh1, beta2, fresh2, rate_plain, rate_adaptive, eps):
        for i in range(value.shape[0]):
            m[i] = beta1 * m[i] + fresh1 * grad[i]
            v[i] = beta2 * v[i] + fresh2 * grad[i] * grad[i]
            value[i] -= m[i] * (rate_plain + rate_adaptive / (np.sqrt(v[i]) + eps))


@register("lion")
@dataclass(repr=False, eq=False)
class Lion(Optimizer):
    """Sign of a mean: w <- w - lr sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g. The decay is decoupled.

    Every number moves by lr in each step: take lr 3 to 10 times smaller than Adam's.

    Parameters
    ----------
    lr : float > 0
    betas : b1 and b2, in [0, 1), or schedules of them, such as ``(0.9 * nn.CosineSchedule(), 0.999)``
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Lion(lr=0.1, betas=(0.5, 0.8)), [1.0, -0.1, -0.2, -0.08, -0.03]).round(4)
    array([-0.1, -0.2, -0.1,  0. , -0.1])

    References
    ----------
    Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2.
    """

    lr: float = 1e-4
    _: KW_ONLY
    betas: tuple[Any, Any] = (0.9, 0.99)

    states = ("m",)
    decoupled = True

    def check(self) -> None:
        super().check()
        self.require_fractions("betas")

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        return {"beta1": beta1, "fresh1": 1 - beta1, "beta2": beta2, "fresh2": 1 - beta2}

    @staticmethod
    def update(value, grad, m, lr, beta1, fresh1, beta2, fresh2):
        for i in range(value.shape[0]):
            direction = beta1 * m[i] + fresh1 * grad[i]
            value[i] -= (lr if direction > 0.0 else 0.0) - (lr if direction < 0.0 else 0.0)
            m[i] = beta2 * m[i] + fresh2 * grad[i]
