"""The loss of a model as a function of one vector, for optimizers of others; and the gradient of each row."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.calls import explained
from nnkit.core.container import chain_of, changing, model_of
from nnkit.core.criterion import Criterion
from nnkit.core.fields import by_name
from nnkit.core.loss import Loss
from nnkit.engine.workers import Team, available_threads
from nnkit.errors import ParameterError, ShapeError
from nnkit.network import network_of
from nnkit.training.data import check_finite, check_row_shape, count_of, to_inputs
from nnkit.training.goals import goals_of, targets_of, weights_of
from nnkit.training.objective import Objective
from nnkit.training.padding import without_padding
from nnkit.training.row_pass import RowPass

__all__ = ["LossFunction", "row_gradients", "value_and_grad"]

WORTH_A_THREAD = 10_000_000  # multiplications: its start takes ~0.1 ms
Vector = NDArray[np.float64]


class _Inner(Loss):
    """sum of prediction times target: its gradient by the parameters is that of the outputs, times the target."""

    @staticmethod
    def forward(prediction: Any, target: Any) -> Any:
        return prediction * target

    @staticmethod
    def backward(prediction: Any, target: Any) -> Any:
        return target


class _Data:
    """A model's data, checked, on a float64 net of its numbers that is nobody else's."""

    def __init__(self, model: Any, X: Any, y: Any, loss: Any, sample_weight: Any, n_threads: int | None, who: str) -> None:
        self.model = model_of(model, who)
        self.whose = network_of(model, who)
        self.network = network = self.whose.copied(chain_of(self.model), "float64", str)
        in_shape, out_shape = network.in_shape, network.out_shape
        self.X = to_inputs(X, tuple(in_shape) if isinstance(in_shape, dict) else (), who)
        check_row_shape(self.X, in_shape, who)
        check_finite(self.X, "X")
        network.check_input(self.X, "X")
        self.rows = np.arange(count_of(self.X))
        last, count = self.model.last_fit, len(self.rows)
        loss, weighs = (last.get("loss", "mse"), last.get("loss_weights")) if loss is None else (loss, None)
        self.criterion = Criterion.make(loss, weighs, out_shape, who).live("float64")[0]
        self.y = targets_of(self.criterion, y, out_shape, count, who, finite=True)
        weights = weights_of(self.criterion, sample_weight, out_shape, count)
        self.weights = without_padding(network, self.criterion, self.X, weights)
        work = 3 * count * network.work()
        self.threads = max(1, min(available_threads(n_threads), work // WORTH_A_THREAD))

    def objective(self) -> Objective:
        goals = goals_of(self.network, self.criterion, self.y, self.weights, self.rows)
        return Objective(self.network, goals, self.X, self.rows, training=False, workers=self.threads)


class LossFunction:
    """The loss of a model on data, as a function of one float64 vector: ``value, gradient = f(theta)``.

    What `value_and_grad` returns. The vector holds the trained parameters one after the other, in the order of
    ``model.parameters()``; frozen ones are left out. Layers work as they do in `predict`. The function has a net of its own, in
    float64 whatever the model's dtype is: the model stays as it is, until `write`. One thread at a time may call it.

    Attributes
    ----------
    start : (size,) the model's own parameters, as they were when the function was made
    size : numbers of the vector
    """

    def __init__(self, data: _Data) -> None:
        self._data, self._objective = data, data.objective()
        self.size = self._objective.size
        if not self.size:
            raise ParameterError("value_and_grad: expected parameters that are trained, got a model without any")
        self.start = self._objective.position()
        self._rows: RowPass | None = None

    def _at(self, theta: Any, name: str = "theta") -> Vector:
        """A vector that a user gives."""
        given = np.asarray(theta, np.float64)
        if given.shape != (self.size,):
            raise ShapeError(f"value_and_grad: expected {name} of shape ({self.size},), one number for each trained parameter, "
                             f"got {given.shape}")  # fmt: skip
        return given

    def __call__(self, theta: Any, out: Vector | None = None) -> tuple[float, Vector]:
        """The loss at ``theta``, and its gradient.

        Parameters
        ----------
        theta : (size,) numbers
        out : (size,) float64 array that the gradient is written to, optional: then nothing is allocated

        Returns
        -------
        The loss, infinite where it overflows or is not a number, and the gradient.
        """
        objective = self._objective
        objective.move(self._at(theta))
        gradient = np.empty(self.size) if out is None else out
        with Team(objective.workers) as team:
            return objective.value_and_grad(gradient, team), gradient

    def value(self, theta: Any) -> float:
        """The loss alone: a forward pass."""
        self._objective.move(self._at(theta))
        with Team(self._objective.workers) as team:
            return self._objective.value(team)

    def hvp(self, theta: Any, v: Any, step: float | None = None) -> Vector:
        """The Hessian at ``theta`` times ``v``: (g(theta + h v) - g(theta - h v)) / 2 h, of two gradients.

        Parameters
        ----------
        step : h; by default `step`, which balances what the difference leaves out, of order h**2, with rounding, of 1 / h
        """
        at, direction = self._at(theta), self._at(v, "v")
        h = self.step(at, direction) if step is None else float(step)
        if not h > 0.0:  # v is zero
            return np.zeros(self.size)
        return (self(at + h * direction)[1] - self(at - h * direction)[1]) / (2.0 * h)

    def step(self, theta: Any, v: Any) -> float:
        """The step of `hvp`: eps**(1/3) (1 + |theta|) / |v|, with eps = 2**-52; 0 where v is 0."""
        norm = float(np.linalg.norm(self._at(v, "v")))
        return float(np.cbrt(np.finfo(np.float64).eps) * (1.0 + np.linalg.norm(self._at(theta))) / norm) if norm else 0.0

    def jvp(self, theta: Any, v: Any) -> Any:
        """J v: how all outputs change where the parameters move by ``v``; (N, *out_shape), exact."""
        direction, data = self._at(v, "v"), self._data
        self._objective.move(self._at(theta))
        if self._rows is None:
            self._rows = RowPass.of(data.network, data.X, data.rows, workers=data.threads)
        every = self._rows
        out = {name: np.empty((len(data.rows), prod(shape))) for name, shape in every.out_shapes.items()}
        rows = np.empty((every.block, self.size))
        with Team(every.workers) as team:
            for piece in every.blocks(team):
                count, place = len(data.rows[piece]), dict.fromkeys(out, 0)
                for seed in every.each_output(None, count):
                    (name,) = seed
                    every.pull(seed, rows[:count], team)
                    out[name][piece, place[name]] = rows[:count] @ direction
                    place[name] += 1
        shaped = {name: array.reshape(-1, *every.out_shapes[name]) for name, array in out.items()}
        return shaped.get("", shaped)

    def vjp(self, theta: Any, u: Any) -> Vector:
        """J' u: the gradient of sum(u * outputs); ``u`` is (N, *out_shape), for several outputs a dict of these."""
        data, out_shape = self._data, self._data.network.out_shape
        given = by_name(u, tuple(out_shape) if isinstance(out_shape, dict) else (), "vjp", "u")
        criterion = Criterion.make(_Inner(reduction="sum"), None, out_shape, "vjp")
        targets = targets_of(criterion, given, out_shape, len(data.rows), "vjp", "u", finite=True)
        goals = goals_of(data.network, criterion, targets, dict.fromkeys(targets), data.rows)
        objective = Objective(data.network, goals, data.X, data.rows, training=False, workers=data.threads)
        objective.move(self._at(theta))
        out = np.empty(self.size)
        with Team(objective.workers) as team:
            objective.value_and_grad(out, team)
        return out

    def write(self, theta: Any) -> None:
        """Let the model have these parameters, rounded to its dtype.

        Raises
        ------
        ParameterError
            The model has been built anew.
        """
        data, at = self._data, self._at(theta)
        with changing(data.model, "value_and_grad"):
            if network_of(data.model) is not data.whose:
                raise ParameterError("value_and_grad: expected the model as it was, got one that was built anew; make the "
                                     "function anew, too")  # fmt: skip
            self._objective.move(at)
            theirs = data.whose.parameters()
            for name, array in data.network.parameters().items():
                if name not in data.network.frozen:
                    theirs[name][...] = array

    def __repr__(self) -> str:
        return f"<loss of {self._data.model!r} on {len(self._data.rows)} rows, a function of {self.size} numbers>"


@explained
def value_and_grad(
    model: Any, X: Any, y: Any, loss: Any = None, *, sample_weight: Any = None, n_threads: int | None = None
) -> LossFunction:
    """The loss of a model on data as a function of one vector of all its parameters, with the gradient.

    For `scipy.optimize.minimize` and loops of one's own: L(theta), and dL/dtheta by the layers' own backward kernels, over all
    rows, in float64.

    Parameters
    ----------
    model : a built model, or a fitted estimator
    X, y, sample_weight, n_threads : as for `Sequential.fit`
    loss : a loss or its name, of several outputs a dict; by default that of the last fit, else "mse"

    Returns
    -------
    LossFunction
        ``f(theta) -> (value, gradient)``, with ``f.start``, ``f.write(theta)``, ``f.value``, ``f.hvp``, ``f.jvp``, ``f.vjp``.

    Raises
    ------
    NotBuiltError, ShapeError, DataError, ParameterError
        The model is not built; the data do not fit it; all parameters are frozen.

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> from scipy.optimize import minimize
    >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
    >>> model = nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0)
    >>> f = nn.value_and_grad(model, X, X**2, "mse")
    >>> found = minimize(f, f.start, jac=True, method="L-BFGS-B")
    >>> f.write(found.x)
    >>> bool(model.evaluate(X, X**2, "mse") < 1e-3)
    True

    References
    ----------
    Nocedal and Wright 2006, "Numerical Optimization", chapter 8 (the step of finite differences).
    """
    return LossFunction(_Data(model, X, y, loss, sample_weight, n_threads, "value_and_grad"))


@explained
def row_gradients(
    model: Any, X: Any, y: Any, loss: Any = None, *, norms: bool = False, n_threads: int | None = None
) -> NDArray[np.float64]:
    """The gradient of every row's own loss by all trained parameters: dl_n / dtheta, a row of numbers for each row n.

    Rows with large gradients are those that training pulls at most: rare ones, and wrong labels. Of a mean loss, the mean of
    the rows' gradients is the gradient of the loss; of a sum, their sum is.

    Parameters
    ----------
    model : a built model, or a fitted estimator; its layers work as in `predict`
    X, y, n_threads : as for `Sequential.fit`
    loss : a loss or its name; by default that of the last fit, else "mse"
    norms : return their Euclidean norms alone, (N,): of dense nets no gradient is written out then, of others those of a block
        of rows at a time

    Returns
    -------
    (N, size) float64, in the order of `value_and_grad`; or with ``norms`` (N,)

    Raises
    ------
    NotBuiltError, ShapeError, DataError, ParameterError

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Linear(1, weight_init="ones")]).build((2,))
    >>> nn.row_gradients(model, [[1.0, 2.0], [0.0, 1.0]], [[0.0], [1.0]], "mse")
    array([[ 6., 12.,  6.],
           [ 0.,  0.,  0.]])
    >>> nn.row_gradients(model, [[1.0, 2.0]], [[0.0]], "half_squared_error", norms=True).round(4)
    array([7.3485])

    References
    ----------
    Goodfellow 2015, "Efficient per-example gradient computations".
    """
    data = _Data(model, X, y, loss, None, n_threads, "row_gradients")
    network, criterion = data.network, data.criterion
    every = RowPass.of(network, data.X, data.rows, losses=criterion.losses, y=data.y, workers=data.threads)
    share = {name: criterion.factors[name] / (item.terms(every.out_shapes[name]) if item.reduction == "mean" else 1)
             for name, item in criterion.losses.items()}  # fmt: skip
    found = np.empty(len(data.rows)) if norms else np.empty((len(data.rows), every.size))
    with Team(every.workers) as team:
        for piece in every.blocks(team):
            count = len(data.rows[piece])
            seeds = {name: share[name] * slope[:count] for name, slope in every.slopes.items()}
            if norms:
                found[piece] = every.norms(seeds, count, team)
            else:
                every.pull(seeds, found[piece], team)
    return found
