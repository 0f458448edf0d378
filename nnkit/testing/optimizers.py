"""The contract of optimizers, one property to a function; each raises `CheckError` where it is broken."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer, Updater
from nnkit.core.part import Example
from nnkit.engine.program import Program, aligned_zeros
from nnkit.testing.compare import because, require, require_close, require_equal
from nnkit.testing.part import (
    AGREEMENT,
    PART_CHECKS,
    ROUNDING,
    SEED,
    Check,
    explained,
    machine_code_stays_in_float32,
)

__all__ = ["OPTIMIZER_CHECKS", "optimizer_program"]


class _Descent:
    """An optimizer at work on a vector, of which the last quarter is padding: zeros that never have a gradient."""

    def __init__(self, optimizer: Optimizer, dtype: str, chunk: int = 64, size: int = 128, python: bool = False) -> None:
        self.used = size * 3 // 4
        self.value, self.grad = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
        self.value[: self.used] = np.random.default_rng(SEED).uniform(-1.0, 1.0, self.used)
        self.updater = Updater(optimizer, self.value, self.grad[None], chunk=chunk, python=python)

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


def optimizer_program(example: Example) -> Program:
    """The float32 kernels of an optimizer."""
    return _Descent(example.part, "float32").updater.update


def update_indices_are_in_range(example: Example) -> None:
    """Run as Python, every index fits its array."""
    with explained(example.part):
        _Descent(example.part, "float64", python=True).walk()


def update_compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, after several steps."""
    for dtype, rtol in AGREEMENT.items():
        expected = _Descent(example.part, dtype, python=True).walk()
        require_close(example.part, "update", "value", _Descent(example.part, dtype).walk(), expected, rtol)


def update_descends(example: Example) -> None:
    """300 steps with a rate of 0.1 bring sum(curvature * (value - goal)**2) below a fiftieth of what it was."""
    optimizer = copy.copy(example.part)
    optimizer.lr, optimizer.weight_decay, optimizer.clip_norm = 0.1, 0.0, None
    descent = _Descent(optimizer, "float64")
    random = np.random.default_rng(SEED + 2)
    curvature, goal = random.uniform(0.5, 2.0, descent.used), random.uniform(-1.0, 1.0, descent.used)

    def loss() -> float:
        return float((curvature * (descent.value[: descent.used] - goal) ** 2).sum())

    begin = loss()
    for _ in range(300):
        descent.step(2 * curvature * (descent.value[: descent.used] - goal))
    message = f"300 steps bring a quadratic from {begin:.3g} to {loss():.3g} only"
    reason = "; likely cause: it goes up the gradient, the sign of the step is wrong" if loss() > begin else ""
    require(loss() < begin / 50, example.part, message + reason)


def update_float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of the float32 update."""
    machine_code_stays_in_float32(example.part, optimizer_program(example), ("update",))


def padding_stays_zero(example: Example) -> None:
    """A parameter that is 0 and never has a gradient stays 0."""
    descent = _Descent(example.part, "float64")
    descent.walk()
    reason = because("it moves numbers whose gradient is 0; their step must be 0")
    padding = descent.value[descent.used :]
    require_equal(example.part, "update", "value (padding)", padding, np.zeros_like(padding), reason)


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


OPTIMIZER_CHECKS: tuple[Check, ...] = (
    update_indices_are_in_range,
    update_compiled_equals_uncompiled,
    update_descends,
    update_float32_stays_float32,
    padding_stays_zero,
    chunks_do_not_matter,
    gradient_is_only_read,
    walks_are_reproducible,
    *PART_CHECKS,
)
