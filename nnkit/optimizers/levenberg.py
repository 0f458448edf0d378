"""Levenberg-Marquardt: Newton's method for sums of squares, damped until the loss falls; with a penalty of one's own or not."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.registry import register
from nnkit.core.trainer import Iteration, Problem, Trainer
from nnkit.engine.critical import imported

__all__ = ["BayesianLM", "LevenbergMarquardt"]

Vector = NDArray[np.float64]
KNOWN, VALUE, MU, DECAY, EFFECTIVE = range(5)  # places of `numbers`
LEAST = 1e-20  # of the damping


class Bowl(NamedTuple):
    """What the loss is near a place: sum (r + J s)**2 / 2 + decay |w + s|**2 / 2, of a step s.

    Attributes
    ----------
    curvature : J'J, or JJ' where there are fewer residuals than parameters
    jacobian : J, where the curvature is JJ'; else None
    gradient : J'r + decay w
    decay : of the penalty
    """

    curvature: Vector
    jacobian: Vector | None
    gradient: Vector
    decay: float

    def step(self, mu: float, scaled: bool) -> Vector | None:
        """-(J'J + (decay + mu D) 1)**-1 g, by Cholesky; None where the matrix is singular, to rounding.

        From JJ' it is -(g - J' (JJ' + d 1)**-1 J g) / d, with d = decay + mu.
        """
        linalg = imported("scipy.linalg")
        matrix, gradient = self.curvature.copy(), self.gradient
        damped = matrix.reshape(-1)[:: len(matrix) + 1]  # the diagonal, live
        damped += self.decay + mu * (damped + self.decay if scaled else 1.0)
        right = gradient if self.jacobian is None else self.jacobian @ gradient
        try:
            # It is symmetric, and LAPACK wants columns: the transposed view needs no copy.
            solved: Vector = linalg.cho_solve(linalg.cho_factor(matrix.T, lower=True, overwrite_a=True), right)
        except (np.linalg.LinAlgError, ValueError):
            return None
        if self.jacobian is None:
            return -solved
        return -(gradient - self.jacobian.T @ solved) / (self.decay + mu)

    def effective(self) -> float:
        """How many parameters the data determine, rather than the penalty: sum of e / (e + decay), with J'J's eigenvalues e."""
        values = np.maximum(np.linalg.eigvalsh(self.curvature), 0.0)
        return float((values / np.maximum(values + self.decay, np.finfo(np.float64).tiny)).sum())


@dataclass(repr=False, eq=False)
class Damped(Trainer):
    """What methods of Levenberg-Marquardt share: the damped step, and when to end; see `LevenbergMarquardt`."""

    _: KW_ONLY
    mu: float = 1e-3
    mu_inc: float = 10.0
    mu_dec: float = 0.1
    mu_max: float = 1e10
    min_grad: float = 1e-7
    max_fail: int | None = None
    scaled: bool = False

    squares = True

    def check(self) -> None:
        super().check()
        self.require_number("mu", 0.0, above=True)
        self.require_number("mu_inc", 1.0, above=True)
        self.require_number("mu_dec", 0.0, 1.0, above=True, below=True)
        self.require_number("mu_max", 0.0, above=True)
        self.require_number("min_grad", 0.0)
        if self.max_fail is not None:
            self.require_size("max_fail", 0)
        self.require("scaled", isinstance(self.scaled, bool | np.bool_), "True or False")

    def states(self, size: int) -> dict[str, int]:
        return {"point": size, "numbers": 5}

    def memory(self, size: int, terms: int) -> int:
        return 8 * (terms * size if self._is_wide(size, terms) else 2 * size * size)

    def _is_wide(self, size: int, terms: int) -> bool:
        """Whether JJ' is made, instead of J'J."""
        return terms < size and not self.scaled

    def begin(self, problem: Problem, theta: Vector, numbers: Vector) -> None:
        """Say what the penalty is at first, as numbers[DECAY]."""
        numbers[DECAY] = self.weight_decay

    def follow(self, problem: Problem, theta: Vector, numbers: Vector, bowl: Bowl) -> None:
        """After a step: say what the penalty is from now on."""

    def noted(self, numbers: Vector) -> dict[str, float]:
        """More figures."""
        return {}

    def iterate(self, problem: Problem, states: dict[str, Vector]) -> Iteration:
        theta, numbers = problem.position(), states["numbers"]
        if not numbers[KNOWN] or (theta != states["point"]).any():  # the first iteration, or somebody has moved the net
            numbers[VALUE] = problem.value()
            if not np.isfinite(numbers[VALUE]):
                raise problem.not_finite()
        if not numbers[KNOWN]:
            numbers[KNOWN], numbers[MU] = 1.0, self.mu
            self.begin(problem, theta, numbers)
        bowl = self._bowl(problem, theta, float(numbers[DECAY]))
        norm = float(np.linalg.norm(bowl.gradient))
        if not np.isfinite(norm):
            raise problem.not_finite()
        if norm <= self.min_grad:
            stopping = f"the gradient is at most min_grad={self.min_grad:g}"
        else:
            stopping = self._descend(problem, numbers, theta, bowl)
        states["point"][:] = theta = problem.position()
        if not stopping:
            self.follow(problem, theta, numbers, bowl)
        return Iteration(float(numbers[VALUE]), {"grad_norm": norm, "mu": float(numbers[MU]), **self.noted(numbers)}, stopping)

    def _bowl(self, problem: Problem, theta: Vector, decay: float) -> Bowl:
        """The loss near here."""
        if self._is_wide(problem.size, problem.terms):
            blocks = [(block.copy(), residual.copy()) for block, residual in problem.residuals()]
            jacobian = np.concatenate([block for block, _ in blocks])
            residual = np.concatenate([residual for _, residual in blocks])
            return Bowl(jacobian @ jacobian.T, jacobian, jacobian.T @ residual + decay * theta, decay)
        curvature, gradient = np.zeros((problem.size, problem.size)), decay * theta
        for block, residual in problem.residuals():
            curvature += block.T @ block
            gradient += block.T @ residual
        return Bowl(curvature, None, gradient, decay)

    def _descend(self, problem: Problem, numbers: Vector, theta: Vector, bowl: Bowl) -> str:
        """Go to where loss and penalty are lower, with as much damping as that takes; or say why there is no such place."""
        before = float(numbers[VALUE]) + 0.5 * bowl.decay * float(theta @ theta)
        while numbers[MU] <= self.mu_max:
            step = bowl.step(float(numbers[MU]), self.scaled)
            if step is not None:
                there = theta + step
                problem.move(there)
                value = problem.value()
                if value + 0.5 * bowl.decay * float(there @ there) < before:
                    numbers[VALUE], numbers[MU] = value, max(float(numbers[MU]) * self.mu_dec, LEAST)
                    return ""
            numbers[MU] *= self.mu_inc
        problem.move(theta)
        numbers[MU] = self.mu_max  # where another fit would go on
        return f"no step lowers the loss, with mu up to mu_max={self.mu_max:g}: this is a minimum, or J'J is singular there"


@register("lm")
@dataclass(repr=False, eq=False)
class LevenbergMarquardt(Damped):
    """Levenberg-Marquardt, for losses that are sums of squares: w <- w - (J'J + mu 1)**-1 J'r, of the residuals r.

    J holds the derivative of every residual by every parameter, from the layers' own backward kernels, a row at a time. The
    loss is sum r**2 / 2: ``"mse"``, ``"half_squared_error"``, and by the square-root trick ``"huber"``, ``"smooth_l1"`` and
    ``"log_cosh"``; rows may have weights. Where the loss rises, the step is undone, mu grows by ``mu_inc``, and it is tried
    again; where it falls, mu shrinks by ``mu_dec``. With n residuals and P parameters the smaller one of J'J (P, P) and JJ' (n,
    n) is made, from blocks of rows, and solved by Cholesky: for nets of up to some thousand parameters.

    In a long valley mu jumps to and fro; there ``mu_inc=2, mu_dec=1/3`` get on better. Much depends on where a net begins:
    units that bend within the range of the data have short ways.

    Training ends as the norm of the gradient is at most ``min_grad``; as mu is beyond ``mu_max``: nothing lowers the loss any
    more; and where there are validation data, after ``max_fail`` epochs without a better loss there.

    Parameters
    ----------
    mu : float > 0, the damping at first
    mu_inc : float > 1
    mu_dec : float in (0, 1)
    mu_max : float > 0
    min_grad : float >= 0
    max_fail : int >= 0, or None: validation does not end training
    scaled : damp by mu times the diagonal of J'J (Fletcher 1971), instead of mu: the same in any units of the parameters
    weight_decay, max_iter : see `nnkit.core.trainer.Trainer`

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
    >>> history = model.fit(X, np.sin(3 * X), optimizer="lm", epochs=50)
    >>> history["loss"][-1] < 1e-4, list(history)
    (True, ['loss', 'grad_norm', 'mu'])

    References
    ----------
    Levenberg 1944, "A method for the solution of certain non-linear problems in least squares"; Marquardt 1963, "An algorithm
    for least-squares estimation of nonlinear parameters"; Hagan and Menhaj 1994, "Training feedforward networks with the
    Marquardt algorithm".
    """

    _: KW_ONLY
    max_fail: int | None = 6

    figures = ("grad_norm", "mu")


@register("lm_bayes")
@dataclass(repr=False, eq=False)
class BayesianLM(Damped):
    """Levenberg-Marquardt with a penalty that the data choose: MacKay's evidence, in place of a validation set.

    What is made small is sum r**2 / 2 + decay |w|**2 / 2. Seen as probabilities, of the errors with the precision beta and of
    the parameters with alpha, decay is alpha / beta. After each step the two are what makes the data most probable: with
    E = sum r**2 / 2 and W = |w|**2 / 2, alpha = gamma / 2 W and beta = (n - gamma) / 2 E. There gamma = sum e / (e + decay),
    over the eigenvalues e of J'J, is the number of parameters that the n residuals determine. It is in the history as
    ``effective_parameters``: if it hardly changes with a larger net, the net is large enough.

    Parameters
    ----------
    mu, mu_inc, mu_dec, mu_max, min_grad, max_fail, scaled : as for `LevenbergMarquardt`; validation ends nothing by default
    weight_decay : float >= 0, where the search for ``decay`` begins; 0: at what gamma = min(P, n / 2) makes of it
    max_iter : see `nnkit.core.trainer.Trainer`

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> random = np.random.default_rng(0)
    >>> X = np.linspace(-1, 1, 60).reshape(-1, 1)
    >>> y = np.sin(3 * X) + random.normal(scale=0.2, size=X.shape)
    >>> model = nn.Sequential([nn.Linear(20), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
    >>> history = model.fit(X, y, optimizer="lm_bayes", epochs=100)
    >>> history["effective_parameters"][-1] < 12  # of 61
    True

    References
    ----------
    MacKay 1992, "Bayesian interpolation"; Foresee and Hagan 1997, "Gauss-Newton approximation to Bayesian learning".
    """

    _: KW_ONLY
    mu: float = 5e-3

    figures = ("grad_norm", "mu", "effective_parameters", "weight_decay")

    def begin(self, problem: Problem, theta: Vector, numbers: Vector) -> None:
        numbers[EFFECTIVE] = min(problem.size, problem.terms / 2)
        numbers[DECAY] = self.weight_decay or _most_probable(numbers, theta, problem.terms)

    def follow(self, problem: Problem, theta: Vector, numbers: Vector, bowl: Bowl) -> None:
        numbers[EFFECTIVE] = bowl.effective()
        numbers[DECAY] = _most_probable(numbers, theta, problem.terms)

    def noted(self, numbers: Vector) -> dict[str, float]:
        return {"effective_parameters": float(numbers[EFFECTIVE]), "weight_decay": float(numbers[DECAY])}


def _most_probable(numbers: Vector, theta: Vector, terms: int) -> float:
    """The decay, alpha / beta; where all residuals are used up by parameters, one is thought to be left."""
    squares = max(float(theta @ theta), np.finfo(np.float64).tiny)
    left = max(terms - float(numbers[EFFECTIVE]), 1.0)
    return float(numbers[EFFECTIVE]) * 2.0 * float(numbers[VALUE]) / (left * squares)
