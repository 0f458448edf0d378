"""L-BFGS: Newton's method with what the last steps have told of the curvature."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from nnkit.core.line_search import Point, strong_wolfe
from nnkit.core.registry import register
from nnkit.core.trainer import Iteration, Problem, Trainer

__all__ = ["LBFGS"]

Vector = NDArray[np.float64]
KNOWN, VALUE, COUNT, EVALUATIONS, NEXT = range(5)  # places of `numbers`; the next pair takes the oldest one's place


@register("lbfgs")
@dataclass(repr=False, eq=False)
class LBFGS(Trainer):
    """L-BFGS: w <- w - t H g, with H the inverse curvature that the last steps s and changes y of the gradient tell.

    H is made of the pairs by H <- (1 - s y' / y's) H (1 - y s' / y's) + s s' / y's, the oldest first, beginning with
    (y's / y'y) 1 of the newest; it is never written out. t meets the strong conditions of Wolfe: the loss falls, and its slope
    flattens; the first trial is 1, in the first iteration min(1, 1 / |g|_1).

    Training ends as the largest number of the gradient is at most ``tol``, as an iteration lowers the loss by at most
    ``tol_change`` times max(|loss|, 1), or after so many evaluations of loss and gradient.

    Parameters
    ----------
    history_size : int >= 1, pairs that are kept: 2 history_size vectors as long as that of all parameters
    tol : float >= 0
    tol_change : float >= 0
    max_fun : int >= 1, evaluations at most
    weight_decay, max_iter, max_fail : see `nnkit.core.trainer.Trainer`

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
    >>> history = model.fit(X, np.sin(3 * X), optimizer=nn.LBFGS(tol=1e-6))
    >>> history["loss"][-1] < 1e-4, list(history)
    (True, ['loss', 'grad_max', 'evaluations'])

    References
    ----------
    Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization"; Nocedal and Wright 2006, "Numerical
    Optimization", algorithms 7.4 and 7.5.
    """

    _: KW_ONLY
    history_size: int = 10
    tol: float = 1e-4
    tol_change: float = 2.2e-9
    max_fun: int = 15000

    figures = ("grad_max", "evaluations")
    elsewhere = ("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search_fn")

    def check(self) -> None:
        super().check()
        self.require_size("history_size")
        self.require_number("tol", 0.0)
        self.require_number("tol_change", 0.0)
        self.require_size("max_fun")

    def states(self, size: int) -> dict[str, int]:
        pairs = self.history_size * size
        return {"point": size, "gradient": size, "steps": pairs, "changes": pairs, "numbers": 5,
                "curvatures": self.history_size}  # fmt: skip

    def iterate(self, problem: Problem, states: dict[str, Vector]) -> Iteration:
        numbers, gradient = states["numbers"], states["gradient"]
        theta = problem.position()
        if not numbers[KNOWN] or (theta != states["point"]).any():  # the first iteration, or somebody has moved the net
            numbers[:] = 1.0, self._evaluate(problem, theta, gradient), 0.0, numbers[EVALUATIONS] + 1, 0.0
            states["point"][:] = theta
            if not np.isfinite(numbers[VALUE]):
                raise problem.not_finite()
        if np.abs(gradient).max() <= self.tol:
            return self._ended(states, f"the gradient is at most tol={self.tol:g}")
        found = self._search(problem, states)
        if found.t and found.value < numbers[VALUE]:
            return self._accept(problem, states, found)
        problem.move(states["point"])
        if numbers[COUNT]:  # curvature that leads nowhere is forgotten: then along the gradient
            numbers[COUNT] = numbers[NEXT] = 0.0
            return self._ended(states)
        return self._ended(states, "no step along the gradient lowers the loss: it is as low as the net's dtype can tell; "
                                   "float64 (model.build(..., dtype='float64')) tells more")  # fmt: skip

    def _evaluate(self, problem: Problem, theta: Vector, out: Vector) -> float:
        """Loss and gradient at ``theta``, with the penalty."""
        problem.move(theta)
        value = problem.value_and_grad(out)
        if self.weight_decay:
            out += self.weight_decay * theta
        return value + self._penalty(theta)

    def _penalty(self, theta: Vector) -> float:
        return 0.5 * self.weight_decay * float(theta @ theta) if self.weight_decay else 0.0

    def _search(self, problem: Problem, states: dict[str, Vector]) -> Point:
        """The next point, along the direction that the curvature tells."""
        point, gradient, numbers = states["point"], states["gradient"], states["numbers"]
        direction = self._direction(states)
        slope = float(gradient @ direction)
        if not slope < 0.0:
            numbers[COUNT] = numbers[NEXT] = 0.0
            direction, slope = -gradient, -float(gradient @ gradient)

        def along(t: float) -> Point:
            numbers[EVALUATIONS] += 1
            there = np.empty_like(gradient)
            value = self._evaluate(problem, point + t * direction, there)
            return Point(t, value, float(there @ direction), there)

        start = Point(0.0, float(numbers[VALUE]), slope, gradient)
        first = 1.0 if numbers[COUNT] else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        found = strong_wolfe(along, start, first, float(np.abs(direction).max()))
        problem.move(point + found.t * direction)
        return found

    def _direction(self, states: dict[str, Vector]) -> Vector:
        """-H g, by two walks over the pairs."""
        numbers, curvatures = states["numbers"], states["curvatures"]
        steps, changes = (states[name].reshape(self.history_size, -1) for name in ("steps", "changes"))
        direction, count = -states["gradient"], int(numbers[COUNT])
        if not count:
            return direction
        newest_first = [(int(numbers[NEXT]) - 1 - back) % self.history_size for back in range(count)]
        shares, room = np.zeros(self.history_size), np.empty_like(direction)
        for i in newest_first:
            shares[i] = steps[i] @ direction / curvatures[i]
            direction -= np.multiply(changes[i], shares[i], out=room)
        newest = newest_first[0]
        direction *= curvatures[newest] / float(changes[newest] @ changes[newest])
        for i in reversed(newest_first):
            direction += np.multiply(steps[i], shares[i] - changes[i] @ direction / curvatures[i], out=room)
        return direction

    def _accept(self, problem: Problem, states: dict[str, Vector], found: Point) -> Iteration:
        """Be there; keep the step and the change of the gradient as a pair, where they tell of a curvature above 0."""
        numbers, theta = states["numbers"], problem.position()
        step, change = theta - states["point"], found.gradient - states["gradient"]
        if (curvature := float(change @ step)) > 1e-10:
            place = int(numbers[NEXT])
            states["curvatures"][place] = curvature
            for name, vector in (("steps", step), ("changes", change)):
                states[name].reshape(self.history_size, -1)[place] = vector
            numbers[COUNT] = min(numbers[COUNT] + 1, self.history_size)
            numbers[NEXT] = (place + 1) % self.history_size
        fell = float(numbers[VALUE]) - found.value
        states["point"][:], states["gradient"][:], numbers[VALUE] = theta, found.gradient, found.value
        scale = max(abs(found.value), abs(found.value + fell), 1.0)
        stopping = ""
        if np.abs(found.gradient).max() <= self.tol:
            stopping = f"the gradient is at most tol={self.tol:g}"
        elif fell <= self.tol_change * scale:
            stopping = f"the loss falls by at most tol_change={self.tol_change:g} of itself"
        return self._ended(states, stopping)

    def _ended(self, states: dict[str, Vector], stopping: str = "") -> Iteration:
        """What an iteration has come to."""
        numbers = states["numbers"]
        if not stopping and numbers[EVALUATIONS] >= self.max_fun:
            stopping = f"max_fun={self.max_fun} evaluations"
        figures = {"grad_max": float(np.abs(states["gradient"]).max()), "evaluations": float(numbers[EVALUATIONS])}
        return Iteration(float(numbers[VALUE]) - self._penalty(states["point"]), figures, stopping)
