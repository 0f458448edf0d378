"""Steps that look at parameters as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule
from nnkit.kernels.gemm import dot, transpose
from nnkit.kernels.math import real

__all__ = ["Adafactor", "Muon"]

Numbers = NDArray[np.float64]


@register("adafactor")
@dataclass(repr=False, eq=False)
class Adafactor(Optimizer):
    """Step sizes from mean squares of the gradient's rows and columns, relative to the size of the parameter.

    With p = t**beta2_decay, r <- (1 - p) r + p (mean of g**2 over a row), c likewise over a column: for a matrix
    v = r c / mean(r); a vector has v <- (1 - p) v + p g**2. Then u = g / sqrt(max(v, e1**2)), and
    w <- w - max(e2, rms(w)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d), where rms is the root of the mean square over the
    whole parameter. What has more than two axes is a stack of matrices of the last two. The decay is decoupled.

    Of the states, a matrix uses as many numbers as it has rows and columns.

    Parameters
    ----------
    lr : float > 0, the largest step relative to the parameter
    beta2_decay : float <= 0
    eps : e1 and e2; None stands for the distance from 1 to the next number of the dtype
    d : float >= 1
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> optimizer = nn.Adafactor(lr=1.0, beta2_decay=-1.5, eps=(0.2, 0.3), d=1.2, weight_decay=0.1)
    >>> walk(optimizer, [[1.0, -0.1], [3.0, 0.2], [1.0, 1.0]]).round(4).tolist()
    [[-0.3, 0.15], [-0.5715, -0.0617], [-0.6118, -0.4417]]
    >>> first = [[[1.0, 2.0], [0.5, -1.0]], [[3.0, 0.1], [0.2, 0.1]]]  # a stack of two matrices
    >>> second = [[[4.0, -2.0], [0.5, 3.0]], [[0.1, 0.3], [9.0, 0.2]]]
    >>> walk(optimizer, first).round(4).tolist()  # as two steps of one matrix
    [[[-0.3, -0.3], [-0.3, 0.3]], [[-0.6079, -0.2825], [-0.3328, 0.2351]]]
    >>> walk(optimizer, first, of="rows")[:, 0].round(4).tolist()
    [[2.5, 0.625], [3.2089, 0.4129]]
    >>> walk(optimizer, [first, second])[-1].round(4).tolist()
    [[[-0.6226, -0.1087], [-0.3401, -0.1146]], [[-0.278, -0.4215], [-0.563, -0.3078]]]

    References
    ----------
    Shazeer and Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", algorithms 4 and 5 (in PyTorch's
    form, where lr bounds the relative step).
    """

    lr: float = 1e-2
    _: KW_ONLY
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0

    whole = True
    states = ("rows", "columns")
    decoupled = True
    elsewhere = ("lr", "beta2_decay", "eps", "d", "weight_decay")

    def check(self) -> None:
        super().check()
        self.require_number("beta2_decay", high=0.0)
        pair = isinstance(self.eps, tuple | list) and len(self.eps) == 2
        fits = pair and (self.eps[0] is None or 0 < self.eps[0] < 1) and 0 <= self.eps[1] < np.inf
        self.require("eps", fits, "a number in (0, 1) or None, and a number of at least 0")
        self.require_number("d", 1.0)

    @property
    def floor(self) -> float:
        """e1; below 0: that of the dtype."""
        return -1.0 if self.eps[0] is None else float(self.eps[0])

    @property
    def least(self) -> float:
        """e2."""
        return float(self.eps[1])

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        fresh = step**self.beta2_decay
        rate = np.minimum(lr, 1 / np.sqrt(step))
        decay = 0.0 if isinstance(self.weight_decay, Schedule) else self.weight_decay  # a schedule comes as its numbers
        return {"old": 1 - fresh, "fresh": fresh, "rate": rate, "before": 1 / (1 - lr * decay)}

    @staticmethod
    def update(value, grad, rows, columns, shape, old, fresh, rate, before, floor, least, d):
        n = value.shape[0]
        total = norm = 0.0
        for i in range(n):
            total += value[i] * value[i]
        scale = max(least, np.sqrt(total / n) * before) * rate  # of the parameter before its decay
        e1 = floor if floor > 0.0 else (2.0**-23 if value.itemsize == 4 else 2.0**-52)
        lowest = e1 * e1
        if shape.shape[0] < 2:
            for i in range(n):
                rows[i] = old * rows[i] + fresh * grad[i] * grad[i]
                norm += grad[i] * grad[i] / max(rows[i], lowest)
            scale /= max(1.0, np.sqrt(norm / n) / d)
            for i in range(n):
                value[i] -= scale * grad[i] / np.sqrt(max(rows[i], lowest))
            return
        height, width = shape[shape.shape[0] - 2], shape[shape.shape[0] - 1]
        high, wide = real(height), real(width)
        for s in range(n // (height * width)):
            row, column = rows[s * height : (s + 1) * height], columns[s * width : (s + 1) * width]
            for j in range(width):
                column[j] *= old
            for k in range(height):
                g = grad[(s * height + k) * width : (s * height + k + 1) * width]
                square = 0.0
                for j in range(width):
                    square += g[j] * g[j]
                row[k] = old * row[k] + fresh * square / wide
                for j in range(width):
                    column[j] += fresh * g[j] * g[j] / high
            mean = 0.0
            for k in range(height):
                mean += row[k]
            mean = max(mean / high, e1)
            for k in range(height):
                g = grad[(s * height + k) * width : (s * height + k + 1) * width]
                part = row[k] / mean
                for j in range(width):
                    norm += g[j] * g[j] / max(part * column[j], lowest)
        scale /= max(1.0, np.sqrt(norm / n) / d)
        for s in range(n // (height * width)):
            row, column = rows[s * height : (s + 1) * height], columns[s * width : (s + 1) * width]
            mean = 0.0
            for k in range(height):
                mean += row[k]
            mean = max(mean / high, e1)
            for k in range(height):
                g = grad[(s * height + k) * width : (s * height + k + 1) * width]
                w = value[(s * height + k) * width : (s * height + k + 1) * width]
                part = row[k] / mean
                for j in range(width):
                    w[j] -= scale * g[j] / np.sqrt(max(part * column[j], lowest))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.1, beta2_decay=-0.5, eps=(1e-2, 0.1), d=1.5))]


@register("muon")
@dataclass(repr=False, eq=False)
class Muon(Optimizer):
    """Steps of orthogonal matrices: m <- momentum m + (1 - momentum) g, w <- w - lr s Q.

    Q is what m, or with ``nesterov`` momentum m + (1 - momentum) g, becomes where all its singular values become about 1: it is
    divided by its norm, and then ``ns_steps`` times X <- (a + b X X' + c (X X')**2) X, an iteration of Newton and Schulz. s is
    sqrt(max(1, out / in)), or 0.2 sqrt(max(out, in)) with "match_rms_adamw", whose steps are as large as those of `AdamW`.

    A convolution's weight is a matrix of a row for each of its channels out. What has one axis, such as a bias, takes the steps
    of `AdamW`, as Muon is meant for matrices alone. The decay is decoupled. Everything is computed in the parameters' dtype
    (PyTorch's iteration is in bfloat16).

    Parameters
    ----------
    lr : float > 0
    momentum : float in [0, 1), or a `Schedule` of it
    nesterov : bool
    ns_coefficients : a, b and c
    eps : float > 0, the least norm that is divided by; the eps of `AdamW`, too
    ns_steps : int from 1 to 99
    adjust_lr_fn : "original" (None, too) or "match_rms_adamw"
    betas : of `AdamW`, for what has one axis
    weight_decay, clip_norm, clip_value, schedule, maximize, l1, max_norm, groups : see `Optimizer`; a decay of 0.1 by default

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk  # where it leads from 0, by these gradients
    >>> walk(nn.Muon(lr=0.1), [[[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]]]).round(4).tolist()
    [[[-0.0455, -0.0633, -0.0503], [0.0276, -0.0501, 0.1191]]]
    >>> steps = [[1.0, 2.0], [0.0, 1.0], [-0.5, 1.0]], [[1.0, 0.5], [-2.0, 1.0], [0.0, 3.0]]
    >>> walk(nn.Muon(lr=0.1, adjust_lr_fn="match_rms_adamw"), steps)[-1].round(4).tolist()
    [[-0.0377, -0.029], [0.0282, -0.0243], [0.0298, -0.0458]]
    >>> walk(nn.Muon(lr=0.1, nesterov=False, ns_steps=1), steps)[-1].round(4).tolist()
    [[-0.1454, -0.095], [0.1015, -0.0662], [0.0854, -0.1136]]
    >>> walk(nn.Muon(lr=0.1, eps=0.5, betas=(0.5, 0.8)), [[1.0, -0.5], [2.0, 1.0]]).round(4).tolist()  # as AdamW
    [[-0.0667, 0.05], [-0.1441, 0.0115]]

    References
    ----------
    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is scalable for LLM
    training", for "match_rms_adamw".
    """

    _: KW_ONLY
    weight_decay: float | Schedule = 0.1
    momentum: float | Schedule = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None
    betas: tuple[Any, Any] = (0.9, 0.999)

    whole = True
    states = ("m", "v")
    scratch = ("first", "second", "gram", "gram_squared")
    decoupled = True
    elsewhere = ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")

    def check(self) -> None:
        super().check()
        self.require_number("momentum", 0.0, 1.0, below=True)
        triple = isinstance(self.ns_coefficients, tuple | list) and len(self.ns_coefficients) == 3
        self.require("ns_coefficients", triple and bool(np.isfinite(self.ns_coefficients).all()), "three numbers")
        self.require_eps()
        self.require_size("ns_steps")
        self.require("ns_steps", self.ns_steps < 100, "an integer below 100")
        known = (None, "original", "match_rms_adamw")
        self.require("adjust_lr_fn", self.adjust_lr_fn in known, "'original', 'match_rms_adamw' or None")
        self.require_fractions("betas")

    @property
    def matches(self) -> bool:
        """Whether steps are to be as large as those of `AdamW`."""
        return self.adjust_lr_fn == "match_rms_adamw"

    def coefficients(self, lr: Numbers, step: Numbers) -> dict[str, Any]:
        beta1, beta2 = self.betas
        return {
            "fresh": 1 - cast(Any, self.momentum), "beta1": beta1, "fresh1": 1 - beta1, "beta2": beta2, "fresh2": 1 - beta2,
            "rate": lr / (1 - beta1**step), "unbias": 1 / np.sqrt(1 - beta2**step),
        }  # fmt: skip

    @staticmethod
    def update(
        value, grad, m, v, first, second, gram, gram_squared, shape, lr, momentum, fresh, nesterov, ns_coefficients, ns_steps,
        eps, matches, beta1, fresh1, beta2, fresh2, rate, unbias,
    ):  # fmt: skip
        n = value.shape[0]
        if shape.shape[0] < 2:
            for i in range(n):
                m[i] = beta1 * m[i] + fresh1 * grad[i]
                v[i] = beta2 * v[i] + fresh2 * grad[i] * grad[i]
                value[i] -= rate * m[i] / (np.sqrt(v[i]) * unbias + eps)
            return
        rows = shape[0]
        columns = n // rows
        short, long = min(rows, columns), max(rows, columns)
        x, turned = first.reshape((short, long)), second.reshape((long, short))
        product = second.reshape((short, long))
        a, b, c = ns_coefficients
        total = 0.0
        for i in range(n):
            m[i] = momentum * m[i] + fresh * grad[i]
            first[i] = momentum * m[i] + fresh * grad[i] if nesterov else m[i]
            total += first[i] * first[i]
        part = 1.0 / max(np.sqrt(total), eps)
        for i in range(n):
            first[i] *= part
        if rows > columns:
            for i in range(n):
                second[i] = first[i]
            transpose(second.reshape((rows, columns)), x)
        g, s = gram[: short * short].reshape((short, short)), gram_squared[: short * short].reshape((short, short))
        for _ in range(ns_steps):
            transpose(x, turned)
            dot(x, turned, g)
            dot(g, g, s)
            for k in range(short):
                for j in range(short):
                    s[k, j] = b * g[k, j] + c * s[k, j]
                s[k, k] += a
            dot(s, x, product)
            for i in range(n):
                first[i] = second[i]
        out = columns if shape.shape[0] == 2 else rows
        step = lr * (0.2 * long**0.5 if matches else max(1.0, out / (n // out)) ** 0.5)
        if rows > columns:
            transpose(x, turned)
            for i in range(n):
                value[i] -= step * second[i]
        else:
            for i in range(n):
                value[i] -= step * first[i]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        other = cls(0.02, nesterov=False, adjust_lr_fn="match_rms_adamw", ns_steps=3, betas=(0.8, 0.6))
        return [Example(cls(0.02)), Example(other)]
