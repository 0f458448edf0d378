"""The contract of optimizers, one property to a function; each raises `CheckError` where it is broken."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.groups import Segment
from nnkit.core.optimizer import Optimizer, Updater
from nnkit.core.part import Example
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.program import Program
from nnkit.testing.arrays import looked_at
from nnkit.testing.compare import because, require, require_close, require_equal
from nnkit.testing.part import (
    AGREEMENT,
    PART_CHECKS,
    ROUNDING,
    SEED,
    Arrays,
    Check,
    machine_code_stays_in_float32,
)

__all__ = ["COMPILED_OPTIMIZER_CHECKS", "OPTIMIZER_CHECKS", "optimizer_program", "optimizer_results", "walk"]


# Parameters of the vector that the checks work on, for optimizers that look at whole ones: matrices that are wide, high and of
# one column, a filter, vectors.
SHAPES = ((4, 8), (3, 2, 4), (5, 3), (15, 1), (9,), (1,))


def segments(shapes: Sequence[tuple[int, ...]]) -> list[Segment]:
    """Parameters of these shapes, one after the other."""
    ends = itertools.accumulate(map(prod, shapes))
    return [Segment(str(shape), end - prod(shape), end, shape) for shape, end in zip(shapes, ends, strict=True)]


class _Descent:
    """An optimizer at work on a vector, of which the last quarter is padding: zeros that never have a gradient."""

    def __init__(self, optimizer: Optimizer, dtype: str, chunk: int = 64, size: int = 128, python: bool = True) -> None:
        self.used = size * 3 // 4
        self.value, self.grad = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
        self.value[: self.used] = np.random.default_rng(SEED).uniform(-1.0, 1.0, self.used)
        self.updater = Updater(optimizer, self.value, self.grad[None], chunk=chunk, segments=segments(SHAPES), python=python)

    def step(self, grad: NDArray[Any]) -> None:
        """Update the parameters by this gradient."""
        self.grad[: self.used] = grad
        self.updater.step()

    def walk(self, steps: int = 5) -> NDArray[Any]:
        """Parameters after some steps by random gradients."""
        random = np.random.default_rng(SEED + 1)
        for _ in range(steps):
            self.step(random.uniform(-1.0, 1.0, self.used))
        return self.value.copy()


def walk(optimizer: Optimizer, grads: Sequence[ArrayLike], of: str = "value") -> NDArray[np.float64]:
    """Where an optimizer leads from 0, a step for each of these gradients, in float64.

    Parameters
    ----------
    optimizer : any
    grads : the gradient of each step: a number, or an array for a parameter of its shape
    of : "value", or the name of one of the optimizer's states, which is followed instead

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import walk
    >>> walk(nn.SGD(lr=0.1), [1.0, 1.0, -3.0])
    array([-0.1, -0.2,  0.1])
    """
    shape = np.shape(grads[0])
    count = prod(shape)
    value, grad, reached = aligned_zeros(count, "float64"), aligned_zeros(count, "float64"), []
    updater = Updater(optimizer, value, grad[None], chunk=1, segments=segments([shape]))
    followed = {"value": value, **updater.states}[of]
    for number in grads:
        grad[:] = np.ravel(number)
        updater.step()
        reached.append(followed.reshape(shape).copy())
    return np.array(reached)


def optimizer_program(example: Example) -> Program:
    """The float32 kernels of an optimizer."""
    return _Descent(example.part, "float32", python=False).updater.update


def optimizer_results(example: Example) -> Iterator[Arrays]:
    """Where an optimizer has come to after 1, 5 and 30 steps; what its states hold, later steps show."""
    for steps in (1, 5, 30):
        yield {"value": _Descent(example.part, "float64").walk(steps)}


def update_indices_are_in_range(example: Example) -> None:
    """Run as Python, every index fits its array."""
    descent = _Descent(example.part, "float64")
    looked_at(descent.updater.update)
    descent.walk()


def update_compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, after several steps."""
    for dtype, rtol in AGREEMENT.items():
        expected = _Descent(example.part, dtype).walk()
        require_close(example.part, "update", "value", _Descent(example.part, dtype, python=False).walk(), expected, rtol)


def update_descends(example: Example) -> None:
    """With its own rate or one of 1, 0.1 and 0.01, 300 steps bring sum(curvature * (value - goal)**2) below a tenth."""
    random = np.random.default_rng(SEED + 2)
    curvature, goal = random.uniform(0.5, 2.0, 96), random.uniform(-1.0, 1.0, 96)
    optimizer = copy.copy(example.part)
    optimizer.weight_decay, optimizer.clip_norm = 0.0, None
    reached: dict[float, float] = {}
    for lr in (example.part.lr, 1.0, 0.1, 0.01):
        optimizer.lr = lr
        descent = _Descent(optimizer, "float64")
        value = descent.value[: descent.used]
        begin = float((curvature * (value - goal) ** 2).sum())
        with np.errstate(all="ignore"):  # a rate that is too high diverges
            for _ in range(300):
                descent.step(2 * curvature * (value - goal))
            reached[lr] = float((curvature * (value - goal) ** 2).sum())
        if reached[lr] < begin / 10:
            return
    best = min(reached, key=lambda lr: reached[lr] if np.isfinite(reached[lr]) else np.inf)
    reason = "; likely cause: it goes up the gradient, the sign of the step is wrong" if not reached[best] <= begin else ""
    message = (f"update does not descend: 300 steps bring a quadratic from {begin:.3g} to {reached[best]:.3g} only, at the "
               f"best of four rates, {best:g}")  # fmt: skip
    require(False, example.part, message + reason)


def update_float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of the float32 update."""
    machine_code_stays_in_float32(example.part, optimizer_program(example), ("update",))


def padding_stays_zero(example: Example) -> None:
    """A parameter that is 0 and never has a gradient stays 0."""
    descent = _Descent(example.part, "float64")
    descent.walk()
    reason = because("it moves numbers whose gradient is 0; their step must be 0")
    expected = descent.value.copy()
    expected[descent.used :] = 0.0
    require_equal(example.part, "update", "value", descent.value, expected, reason)


def chunks_do_not_matter(example: Example) -> None:
    """One chunk of 128 numbers, or eight of 16."""
    expected = _Descent(example.part, "float64", chunk=128).walk()
    got = _Descent(example.part, "float64", chunk=16).walk()
    reason = because("it treats a chunk as a whole; update must do to each number what it does to the others")
    require_close(example.part, "update", "value", got, expected, ROUNDING, suspects=reason)


def gradient_is_only_read(example: Example) -> None:
    """``update`` leaves the gradient as the framework made it."""
    plain = copy.copy(example.part)
    plain.weight_decay, plain.clip_norm, plain.clip_value = 0.0, None, None
    descent = _Descent(plain, "float64")
    grad = np.random.default_rng(SEED).uniform(-1.0, 1.0, descent.used)
    descent.step(grad)
    reason = because("it works in place; a declared state can hold what it computes")
    require_equal(plain, "update", "grad", descent.grad[: descent.used], grad, reason)


def walks_are_reproducible(example: Example) -> None:
    """The same gradients lead to the same bits: the state is in the declared arrays, nothing is drawn or kept elsewhere."""
    first, again = (_Descent(example.part, "float32").walk() for _ in range(2))
    reason = because("something is kept outside of the declared states, or drawn at random")
    require_equal(example.part, "update", "value", again, first, reason)


def coefficients_of_many_steps_equal_one_by_one(example: Example) -> None:
    """`fit` computes the coefficients of many steps at once: each must be what its own step gives."""
    step = np.arange(1.0, 8.0)
    lr = 0.1 / step
    many = example.part.coefficients(lr, step)
    for index in range(len(step)):
        one = example.part.coefficients(lr[index : index + 1], step[index : index + 1])
        for name, expected in one.items():
            got = np.broadcast_to(many[name], step.shape)[index : index + 1]
            reason = because("it depends on the other steps that are asked for")
            require_close(example.part, "coefficients", name, got, np.broadcast_to(expected, (1,)), ROUNDING, suspects=reason)


def steps_follow_the_rate(example: Example) -> None:
    """Another learning rate leads elsewhere."""
    other = copy.copy(example.part)
    other.lr = 2 * example.part.lr
    moved = _Descent(other, "float64").walk() - _Descent(example.part, "float64").walk()
    require(bool(moved.any()), example.part, "update leads to the same place whatever lr is; name lr (or a coefficient of it)")


OPTIMIZER_CHECKS: tuple[Check, ...] = (
    update_indices_are_in_range,
    walks_are_reproducible,
    coefficients_of_many_steps_equal_one_by_one,
    steps_follow_the_rate,
    update_descends,
    padding_stays_zero,
    chunks_do_not_matter,
    gradient_is_only_read,
    *PART_CHECKS,
)

COMPILED_OPTIMIZER_CHECKS: tuple[Check, ...] = (update_compiled_equals_uncompiled, update_float32_stays_float32)
