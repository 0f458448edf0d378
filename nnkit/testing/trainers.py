"""The contract of trainers, one property to a function; each raises `CheckError` where it is broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example
from nnkit.core.trainer import Trainer
from nnkit.errors import NonFiniteError
from nnkit.testing.compare import because, require, require_equal
from nnkit.testing.part import PART_CHECKS, SEED, Check

__all__ = ["TRAINER_CHECKS"]

ITERATIONS = 12
Vector = NDArray[np.float64]


@dataclass
class _Tangent:
    """What the residuals of a bowl are near a place, and everywhere."""

    value: float
    gradient: Vector
    curvature: Vector
    design: Vector

    def copied(self) -> Vector:
        return self.curvature.copy()

    def push(self, v: Vector) -> Vector:
        return self.design @ v

    def pull(self, u: Vector) -> Vector:
        return self.design.T @ u


class _Bowl:
    """|A theta - b|**2 / 2, a `Problem` whose minimum is known."""

    def __init__(self) -> None:
        random = np.random.default_rng(SEED)
        self.design, self.target = random.normal(size=(12, 5)), random.normal(size=12)
        self.theta = random.normal(size=5)
        self.size, self.terms = 5, 12

    def position(self) -> Vector:
        return self.theta.copy()

    def move(self, theta: Vector) -> None:
        self.theta = np.array(theta, np.float64)

    def value(self) -> float:
        residual = self.design @ self.theta - self.target
        return 0.5 * float(residual @ residual)

    def value_and_grad(self, out: Vector) -> float:
        out[:] = self.design.T @ (self.design @ self.theta - self.target)
        return self.value()

    def residuals(self) -> tuple[float, Vector]:
        return self.value(), self.design @ self.theta - self.target

    def tangent(self, *, wide: bool) -> _Tangent:
        value, residual = self.residuals()
        design = self.design
        return _Tangent(value, design.T @ residual, design @ design.T if wide else design.T @ design, design)

    def not_finite(self) -> NonFiniteError:
        return NonFiniteError("the loss of a bowl is finite", epoch=0, step=0, part="bowl")


def _states(trainer: Trainer, problem: _Bowl) -> dict[str, Vector]:
    return {name: np.zeros(length) for name, length in trainer.states(problem.size).items()}


def iterations_descend(example: Example) -> None:
    """The loss falls, is what the net has where it is left, and beside it are the figures that were announced."""
    trainer, problem = example.part, _Bowl()
    states, begin = _states(trainer, problem), problem.value()
    for _ in range(ITERATIONS):
        iteration = trainer.iterate(problem, states)
        came = f"iterate says loss {iteration.loss:.6g}, where the net has {problem.value():.6g}"
        require(np.isclose(iteration.loss, problem.value(), rtol=1e-9, atol=1e-12), trainer, came)
        told = tuple(iteration.figures)
        require(set(told) == set(trainer.figures), trainer, f"iterate notes {told}, expected {trainer.figures}, as figures say")
        if iteration.stopping:
            break
    came = f"{ITERATIONS} iterations lead from the loss {begin:.4g} to {problem.value():.4g}"
    require(problem.value() < begin, trainer, came)


def iterations_go_on_from_the_states(example: Example) -> None:
    """What a checkpoint holds is all: from copies of the states and of the place, it goes the same way, to the bit."""
    trainer, problem = example.part, _Bowl()
    states = _states(trainer, problem)
    for _ in range(2):
        trainer.iterate(problem, states)
    again, copies = _Bowl(), {name: state.copy() for name, state in states.items()}
    again.move(problem.position())
    for name, state in states.items():
        finite = bool(np.isfinite(state).all()) and state.shape == (trainer.states(problem.size)[name],)
        require(finite, trainer, f"its state {name!r} is not {trainer.states(problem.size)[name]} finite numbers")
    for where, kept in ((problem, states), (again, copies)):
        trainer.iterate(where, kept)
    reason = because("it keeps something on itself, or in other places than its states")
    require_equal(trainer, "iterate", "theta", again.theta, problem.theta, reason)


TRAINER_CHECKS: tuple[Check, ...] = (iterations_descend, iterations_go_on_from_the_states, *PART_CHECKS)
