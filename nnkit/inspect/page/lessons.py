"""The pages that come with every page: two worked examples, softmax with cross-entropy, and four scenes to play with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnkit.activations import ReLU, Sigmoid
from nnkit.core.activation import Activation
from nnkit.core.loss import Loss
from nnkit.inspect.page.content import Sheet, Stage
from nnkit.losses import CrossEntropyLoss, HalfSquaredErrorLoss

__all__ = ["lessons"]

MINUS = re.compile("(?<![a-z])-|-(?![a-z])")  # and not a hyphen


def lessons() -> list[Sheet]:
    """All of them, in the order in which they are shown."""
    return [textbook(), mazur(), softmax(), saturated(), dead(), vanishing(), learning_rate()]


def _net(*layers: tuple[ArrayLike, ArrayLike, Activation | None]) -> list[Stage]:
    """Layers of (weight, bias, activation function)."""
    return list(_stages(layers))


def _stages(layers: Sequence[tuple[ArrayLike, ArrayLike, Activation | None]]) -> Iterator[Stage]:
    for weight, bias, activation in layers:
        w, b = np.asarray(weight, float), np.asarray(bias, float)
        parts = f"Linear({len(b)})" + (f", {activation!r}" if activation is not None else "")
        yield Stage(parts, b.shape, w, b, activation)


def _lesson(name: str, caption: Sequence[str], stages: list[Stage], x: Any, y: Any, loss: Loss, **more: Any) -> Sheet:
    typeset = [MINUS.sub("\N{MINUS SIGN}", paragraph) for paragraph in caption]
    return Sheet(name, typeset, stages, np.asarray(x, float), np.asarray(y), loss, **more)


def textbook() -> Sheet:
    """The worked numbers of the lecture: a = (0.3, 0.5, 0.2), y = (0, 1, 0), L = 0.19 and dL/da = (0.3, -0.5, 0.2)."""
    x = np.array([0.05, 0.9])
    w1, b1 = np.array([[0.4, -0.6], [0.2, 0.5]]), np.array([0.1, -0.2])
    w2, a2 = np.array([[0.5, 0.3, -0.4], [-0.7, 0.6, 0.2]]), np.array([0.3, 0.5, 0.2])
    a1 = 1.0 / (1.0 + np.exp(-(x @ w1 + b1)))
    b2 = np.log(a2 / (1.0 - a2)) - a1 @ w2  # so that the output is a2
    caption = [
        "The worked example of the lecture. The output is a = (0.3, 0.5, 0.2) and should be y = (0, 1, 0), so L = 1/2 "
        "(0.3² + 0.5² + 0.2²) = 0.19, and dL/da = (0.3, -0.5, 0.2).",
        "Mind the sign. Written with y - a, L = 1/2 Σ (y - a)², the inner derivative of -a is -1: dL/da = -(y - a) = a - "
        "y. Who forgets that minus, which is easily done, has every gradient with the wrong sign, and walks uphill. Where"
        " a is too large, a - y is positive, and the step against the gradient makes a smaller.",
    ]
    stages = _net((w1, b1, Sigmoid()), (w2, b2, Sigmoid()))
    return _lesson("The textbook's example", caption, stages, [x], [[0.0, 1.0, 0.0]], HalfSquaredErrorLoss(), look=("dL_da", 2))


def mazur() -> Sheet:
    """Two inputs, two hidden units, two outputs: the best known example of the web."""
    caption = [
        "Matt Mazur's 'A Step by Step Backpropagation Example' (2015): L = 0.298371109, and after one step with a "
        "learning rate of 0.5 his w5, here w11 of layer 2, is 0.35891648.",
        "He writes ∂E/∂out = -(target - out), with the minus that gets lost so easily: it is out - target. He leaves the "
        "biases as they are; here they learn, too, so that the loss after a step is lower than his.",
    ]
    first, second = [[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]
    stages = _net((first, [0.35, 0.35], Sigmoid()), (second, [0.60, 0.60], Sigmoid()))
    return _lesson("Mazur's example", caption, stages, [[0.05, 0.10]], [[0.01, 0.99]], HalfSquaredErrorLoss())


def softmax() -> Sheet:
    """A classifier of two rows."""
    caption = [
        "A classifier. The last layer gives scores a, of which the loss makes probabilities p = exp(a) / Σ exp(a), the "
        "softmax. L is the mean of -log p of the right class over the N = 2 rows, which is where the 1/2 comes from.",
        "However long the way through logarithm and softmax is, what comes back is short: dL/da = (p - y) / N. Each row "
        "has a delta of its own; the gradient of a weight is the sum over all rows.",
    ]
    stages = _net(([[0.5, -0.4, 0.1], [-0.3, 0.6, 0.2]], [0.1, 0.0, -0.1], None))
    return _lesson("Softmax with cross-entropy", caption, stages, [[1.0, 0.5], [-0.5, 1.5]], [0, 1], CrossEntropyLoss(),
                   look=("p", 1))  # fmt: skip


def saturated() -> Sheet:
    """A sigmoid far out, whose slope is next to nothing."""
    caption = [
        "A sigmoid saturates. The answer is as wrong as can be, 0.998 instead of 0, but z = 6 is far out, where the curve"
        " is flat: da/dz is 0.002, and hardly anything of dL/da = 1 gets through. Train: for long the loss stays where it"
        " is.",
        "Drag w11 or b1 until z is near 0: the same error now gives a delta fifty times larger. Cross-entropy does away "
        "with this: its dL/da has the slope in the denominator.",
    ]
    return _lesson("A sigmoid saturates", caption, _net(([[4.0]], [2.0], Sigmoid())), [[1.0]], [[0.0]], HalfSquaredErrorLoss(),
                   look=("da_dz", 1))  # fmt: skip


def dead() -> Sheet:
    """A hidden ReLU that is 0 for all rows."""
    caption = [
        "A ReLU dies. z of the first hidden unit is negative for all four rows, so it gives 0 and its slope is 0: no row "
        "sends anything back, its weights have no gradient, and no training will ever change them.",
        "Drag its bias b1 up until one row has a positive z: the unit lives. Or raise the learning rate far and train: "
        "one too large step kills the other one.",
    ]
    stages = _net(([[0.6, 0.8], [-0.4, 0.5]], [-2.0, 0.2], ReLU()), ([[0.7], [0.9]], [0.1], None))
    x = [[1.0, 0.5], [0.5, -1.0], [-0.5, 1.0], [1.5, 1.0]]
    return _lesson("A ReLU dies", caption, stages, x, [[1.0], [-0.5], [0.5], [1.5]], HalfSquaredErrorLoss(), lr=0.1,
                   look=("da_dz", 1))  # fmt: skip


def vanishing() -> Sheet:
    """Eight layers of sigmoids: delta shrinks from each to the one before."""
    caption = [
        "Delta vanishes. From layer to layer it is multiplied by the weights and by s'(z), which is never more than 1/4: "
        "look at the bars of |delta|. Layer 1 has less than a ten-thousandth of what the last one has, and hardly learns.",
        "Every page lets you drag the weights: with weights of about 4 the two factors nearly cancel, with more delta "
        "explodes until the units saturate.",
    ]
    random = np.random.default_rng(3)
    layers = [(random.normal(0.0, 0.8, (2, 2)).round(2), random.normal(0.0, 0.3, 2).round(2), Sigmoid()) for _ in range(7)]
    stages = _net(*layers, (np.array([[0.7], [-0.9]]), np.array([0.2]), Sigmoid()))
    return _lesson("Delta vanishes over eight layers", caption, stages, [[0.5, -0.8]], [[1.0]], HalfSquaredErrorLoss(),
                   look=("delta", 1))  # fmt: skip


def learning_rate() -> Sheet:
    """A parabola, on which gradient descent comes down or does not."""
    caption = [
        "The loss falls, or does not. With one weight and x = 2 the loss is a parabola with a slope that grows by x² + 1 "
        "= 5 a unit. Each step multiplies the error by 1 - 5 η: with η = 0.1 it is halved, with η = 0.2 it is gone at "
        "once, with η = 0.38 it swings from side to side, and from η = 0.4 on it grows.",
        "Set the learning rate, and train.",
    ]
    stages = _net(([[-1.0]], [0.5], None))
    return _lesson("The loss falls, or does not", caption, stages, [[2.0]], [[1.0]], HalfSquaredErrorLoss(), lr=0.38,
                   look=("update", 1))  # fmt: skip
