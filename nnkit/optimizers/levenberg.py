"""Levenberg-Marquardt: Newton's method for sums of squares, damped until the loss falls; with a penalty of one's own or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.registry import register
from nnkit.core.trainer import Iteration, Problem, Tangent, Trainer
from nnkit.engine.critical import imported

__all__ = ["BayesianLM", "LevenbergMarquardt"]

Vector = NDArray[np.float64]
KNOWN, VALUE, MU, DECAY, EFFECTIVE = range(5)  # places of `numbers`
LEAST = 1e-20  # of the damping
ENOUGH = 0.5  # of what the bowl promises: a step that keeps so much of it needs no second one
STRAIGHT = 0.1875  # a second step is at most so long beside the first: 0.75 / 4 in Transtrum and Sethna


class Trial(NamedTuple):
    """A place that a step has led to.

    Attributes
    ----------
    theta : where it is
    loss : without the penalty
    total : with the penalty
    residuals : r there
    """

    theta: Vector
    loss: float
    total: float
    residuals: Vector


class Bowl(NamedTuple):
    """What the loss is near a place: sum (r + J s)**2 / 2 + decay |w + s|**2 / 2, of a step s.

    Attributes
    ----------
    theta : w, where it is
    tangent : r and J there
    gradient : J'r + decay w
    decay : of the penalty
    wide : its curvature is JJ', as there are fewer residuals than parameters
    """

    theta: Vector
    tangent: Tangent
    gradient: Vector
    decay: float
    wide: bool

    @property
    def total(self) -> float:
        """Loss and penalty where it is."""
        return self.tangent.value + 0.5 * self.decay * float(self.theta @ self.theta)

    def damping(self, mu: float, scaled: bool) -> Any:
        """What is added to the diagonal of J'J + decay 1."""
        return mu * (self.tangent.curvature.diagonal() + self.decay if scaled else 1.0)

    def solver(self, damping: Any) -> Callable[[Vector], Vector] | None:
        """G -> (J'J + decay 1 + damping)**-1 g, by Cholesky; None where the matrix is singular, to rounding.

        From JJ' it is (g - J' (JJ' + d 1)**-1 J g) / d, with d = decay + damping.
        """
        linalg = imported("scipy.linalg")
        matrix = self.tangent.copied()
        matrix.reshape(-1)[:: len(matrix) + 1] += self.decay + damping  # the diagonal
        try:
            # It is symmetric, and LAPACK wants columns: the transposed view needs no copy.
            factor = linalg.cho_factor(matrix.T, lower=True, overwrite_a=True)
        except (np.linalg.LinAlgError, ValueError):
            return None
        solve: Callable[[Vector], Vector] = partial(linalg.cho_solve, factor, check_finite=False)
        if not self.wide:
            return solve
        return lambda g: (g - self.tangent.pull(solve(self.tangent.push(g)))) / (self.decay + damping)

    def effective(self) -> float:
        """How many parameters the data determine, rather than the penalty: sum of e / (e + decay), with J'J's eigenvalues e."""
        values = np.maximum(np.linalg.eigvalsh(self.tangent.curvature), 0.0)
        return float((values / np.maximum(values + self.decay, np.finfo(np.float64).tiny)).sum())


@dataclass(repr=False, eq=False)
class Damped(Trainer):
    """What methods of Levenberg-Marquardt share: the damped step, and when to end; see `LevenbergMarquardt`."""

    _: KW_ONLY
    mu: float = 1e-3
    mu_inc: float = 3.0
    mu_dec: float = 0.2
    mu_max: float = 1e10
    min_grad: float = 1e-7
    max_fail: int | None = None
    scaled: bool = False
    accelerated: bool = True

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
        for name in ("scaled", "accelerated"):
            self.require(name, isinstance(getattr(self, name), bool | np.bool_), "True or False")

    def states(self, size: int) -> dict[str, int]:
        return {"numbers": 5}

    def memory(self, size: int, terms: int) -> int:
        return 8 * (terms * size if self._is_wide(size, terms) else 6 * size * size)  # J'J, a copy, and what it is made of

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
        wide = self._is_wide(problem.size, problem.terms)
        tangent = problem.tangent(wide=wide)
        numbers[VALUE] = tangent.value
        if not np.isfinite(tangent.value):
            raise problem.not_finite()
        if not numbers[KNOWN]:
            numbers[KNOWN], numbers[MU] = 1.0, self.mu
            self.begin(problem, theta, numbers)
        decay = float(numbers[DECAY])
        bowl = Bowl(theta, tangent, tangent.gradient + decay * theta, decay, wide)
        norm = float(np.linalg.norm(bowl.gradient))
        if not np.isfinite(norm):
            raise problem.not_finite()
        if norm <= self.min_grad:
            stopping = f"the gradient is at most min_grad={self.min_grad:g}"
        else:
            stopping = self._descend(problem, numbers, bowl)
        if not stopping:
            self.follow(problem, problem.position(), numbers, bowl)
        return Iteration(float(numbers[VALUE]), {"grad_norm": norm, "mu": float(numbers[MU]), **self.noted(numbers)}, stopping)

    def _descend(self, problem: Problem, numbers: Vector, bowl: Bowl) -> str:
        """Go to where loss and penalty are lower, with as much damping as that takes; or say why there is no such place."""
        while numbers[MU] <= self.mu_max:
            trial = self._tried(problem, bowl, float(numbers[MU]))
            if trial is not None and trial.total < bowl.total:
                problem.move(trial.theta)
                numbers[VALUE], numbers[MU] = trial.loss, max(float(numbers[MU]) * self.mu_dec, LEAST)
                return ""
            numbers[MU] *= self.mu_inc
        problem.move(bowl.theta)
        numbers[MU] = self.mu_max  # where another fit would go on
        return (f"no step lowers the loss, with mu up to mu_max={self.mu_max:g}: this is a minimum, to rounding, or J'J is "
                "singular; weight_decay, or another random_state, leads on")  # fmt: skip

    def _tried(self, problem: Problem, bowl: Bowl, mu: float) -> Trial | None:
        """Where the damped step leads, or the two steps, whichever is lower; None where there is no step.

        The second step is half of the geodesic's acceleration, as the residuals r(w + s) tell it: the same system solved for
        J'r(w + s) in place of J'r, about the same middle. Where the first one does well, it is not asked for; where it is long,
        the residuals bend too much for it to mean anything.
        """
        damping = bowl.damping(mu, self.scaled)
        solve = bowl.solver(damping)
        if solve is None:
            return None
        step = -solve(bowl.gradient)
        first = _there(problem, bowl, step)
        promised = 0.5 * float(step @ (damping * step - bowl.gradient))
        if not self.accelerated or not np.isfinite(first.total) or bowl.total - first.total >= ENOUGH * promised:
            return first
        problem.move(bowl.theta)
        bend = -solve(bowl.tangent.pull(first.residuals) + bowl.decay * first.theta + damping * step)
        if not np.linalg.norm(bend) <= STRAIGHT * np.linalg.norm(step):
            return first
        second = _there(problem, bowl, step + bend)
        return second if second.total < first.total else first


def _there(problem: Problem, bowl: Bowl, step: Vector) -> Trial:
    """Go a step, and see."""
    theta = bowl.theta + step
    problem.move(theta)
    loss, residuals = problem.residuals()
    return Trial(theta, loss, loss + 0.5 * bowl.decay * float(theta @ theta), residuals)


@register("lm")
@dataclass(repr=False, eq=False)
class LevenbergMarquardt(Damped):
    """Levenberg-Marquardt, for losses that are sums of squares: w <- w - (J'J + mu 1)**-1 J'r, of the residuals r.

    J holds the derivative of every residual by every parameter, from the layers' own backward kernels, a row at a time; of
    dense nets it is not written out. The loss is sum r**2 / 2: ``"mse"``, ``"half_squared_error"``, and by the square-root
    trick ``"huber"``, ``"smooth_l1"`` and ``"log_cosh"``; rows may have weights. Where the loss rises, the step is undone, mu
    grows by ``mu_inc``, and it is tried again; where it falls, mu shrinks by ``mu_dec``. With n residuals and P parameters the
    smaller one of J'J (P, P) and JJ' (n, n) is made, from blocks of rows, and solved by Cholesky: for nets of up to some
    thousand parameters.

    A step s that does less than half of what it should is followed by another one, -(J'J + mu 1)**-1 (J'r(w + s) + mu s), with
    the same matrix, so that it costs little: along the valley's bend (geodesic acceleration). Nets that begin far from a
    minimum get there in some tens of iterations, instead of hundreds or not at all.

    MATLAB's ``trainlm`` has ``mu_inc=10, mu_dec=0.1, accelerated=False``. Where a net begins matters much: ``"nguyen_widrow"``
    for ``weight_init`` and ``bias_init`` of a tanh's layer, as in MATLAB, spreads the bends over the data.

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
    accelerated : whether there are second steps
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
    Marquardt algorithm"; Transtrum and Sethna 2012, "Improvements to the Levenberg-Marquardt algorithm for nonlinear
    least-squares minimization", arXiv:1201.5885; Fan 2012, "The modified Levenberg-Marquardt method for nonlinear equations
    with cubic convergence".
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
    ``effective_parameters``: if it hardly changes with a larger net, the net is large enough; if it comes near n, the net has
    learned the noise by heart, and fewer units do better.

    Parameters
    ----------
    mu, mu_inc, mu_dec, mu_max, min_grad, max_fail, scaled, accelerated : as for `LevenbergMarquardt`; validation ends nothing
        by default
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
