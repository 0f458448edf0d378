"""One forward and one backward pass with everything kept, in the notation of the textbook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.activation import Activation
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.engine.operands import Array
from nnkit.errors import DataError, ParameterError
from nnkit.inspect.replay import Replay, is_scalar, leads
from nnkit.inspect.slopes import Slopes
from nnkit.network import network_of
from nnkit.planner import Node
from nnkit.training.data import check_row_shape, to_array, to_rows

if TYPE_CHECKING:
    from nnkit.inspect.gradients import GradientCheck
    from nnkit.model import Sequential

__all__ = ["Trace", "TracedLayer", "trace"]

LONGEST = 110  # characters of a model that is spelt out in a title


@dataclass(frozen=True)
class TracedLayer:
    """A layer of the textbook: what has parameters, with the activation function that follows.

    Attributes
    ----------
    number : from 1, as in the textbook
    paths : of the model's layers that it is made of, such as "0" and "1"
    layers : those layers
    x : (N, ...), its input: the activations of the layer before; (N, T, ...) within a `TimeDistributed`
    z : (N, ...), what goes into the activation function
    a : (N, ...), its output; ``z`` where there is no activation function
    da_dz : (N, ...), slope of the activation function at ``z``; 1 where there is none
    dL_da : (N, ...), gradient of the loss by the output; None where nobody needs it
    delta : (N, ...), gradient by ``z``; None where nobody needs it
    grad_x : (N, ...), gradient by the input; None where that holds whole numbers
    parameters, gradients : arrays by name. A gradient is the sum over the batch and, for a layer used twice, over its uses.
    follows : whether its input is the output of the layer numbered before it, which goes nowhere else
    """

    number: int
    paths: tuple[str, ...]
    layers: tuple[Layer, ...]
    x: NDArray[Any]
    z: NDArray[Any]
    a: NDArray[Any]
    da_dz: NDArray[Any]
    dL_da: NDArray[Any] | None
    delta: NDArray[Any] | None
    grad_x: NDArray[Any] | None
    parameters: dict[str, NDArray[Any]]
    gradients: dict[str, NDArray[Any]]
    follows: bool

    @property
    def dL_dW(self) -> NDArray[Any] | None:
        """Gradient by the parameter "weight", None where there is none."""
        return self.gradients.get("weight")

    @property
    def dL_db(self) -> NDArray[Any] | None:
        """Gradient by the parameter "bias", None where there is none."""
        return self.gradients.get("bias")

    @property
    def activation(self) -> Activation | None:
        """The function of each number that ends it."""
        last = self.layers[-1]
        return last if is_scalar(last) else None

    @property
    def name(self) -> str:
        """Its layers, as they were made."""
        return ", ".join(map(repr, self.layers))

    def __repr__(self) -> str:
        return f"TracedLayer({self.number}: {self.name})"


def trace(
    model: Sequential, x: ArrayLike, y: ArrayLike, loss: Loss | str | None = None, *, training: bool = False
) -> Trace:  # fmt: skip
    """One forward and one backward pass, with every intermediate result kept.

    With z_j = sum_i w_ij a_i(l-1) + b_j and a_j = s(z_j) in every layer l, delta_j = dL/dz_j = dL/da_j s'(z_j), where dL/da_j
    is the loss's derivative in the output layer, and dL/da_i = sum_j w_ij(l+1) delta_j(l+1) in a hidden one; the gradients are
    dL/dw_ij = delta_j a_i(l-1) and dL/db_j = delta_j, summed over the rows.

    The model is copied: neither its gradients nor its states change.

    Parameters
    ----------
    model : a built `Sequential`, or a fitted estimator: its net, to which classes are numbers from 0
    x : (N, *in_shape), or one row
    y : targets that fit the loss, or one row of them
    loss : Loss or its name; by default that of the last `fit`, else "mse"
    training : whether dropout and the like are on

    Returns
    -------
    Trace
        ``print`` writes the chain rule out with its numbers, a notebook shows it typeset; ``trace[0]`` is the first layer,
        ``trace[-1].delta`` an array; ``check()`` compares with finite differences, ``plot()`` draws.

    Raises
    ------
    NotBuiltError, ShapeError, DataError, ParameterError

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.Linear(1), nn.Sigmoid()]).build((1,), dtype="float64")
    >>> model.parameters()["0.weight"][:], model.parameters()["0.bias"][:] = 2.0, -1.0
    >>> print(nn.trace(model, [0.5], [1.0], nn.HalfSquaredErrorLoss()))
    Sequential([Linear(), Sigmoid()]), 1 row, HalfSquaredErrorLoss: L = 0.125
    <BLANKLINE>
    FORWARD
    <BLANKLINE>
    Layer 1 (output): 0 Linear(), 1 Sigmoid()
      z_j = sum_i(w_ij * x_i) + b_j,  a_j = sigmoid(z_j)
    <BLANKLINE>
      z_1 = w_11 * x_1 + b_1 = 2 * 0.5 + (-1) = 0
      a_1 = sigmoid(z_1) = sigmoid(0) = 0.5
    <BLANKLINE>
    Loss: HalfSquaredErrorLoss()
    <BLANKLINE>
      L = 0.5 * (a_1 - y_1) * (a_1 - y_1) = 0.5 * (0.5 - 1) * (0.5 - 1) = 0.125
    <BLANKLINE>
    BACKWARD
    <BLANKLINE>
    Layer 1 (output): 0 Linear(), 1 Sigmoid()
      delta_j = dL/da_j * da_j/dz_j,  dL/dw_ij = delta_j * x_i,  dL/db_j = delta_j
    <BLANKLINE>
      dL/da_1 = a_1 - y_1 = 0.5 - 1 = -0.5
      da_1/dz_1 = a_1 * (1 - a_1) = 0.5 * (1 - 0.5) = 0.25
      delta_1 = dL/da_1 * da_1/dz_1 = (-0.5) * 0.25 = -0.125
      dL/dw_11 = delta_1 * x_1 = (-0.125) * 0.5 = -0.0625
      dL/db_1 = delta_1 = -0.125
    <BLANKLINE>
    Input
      dL/dx_i = sum_j(w_ij(1) * delta_j(1))
    <BLANKLINE>
      dL/dx_1 = w_11(1) * delta_1(1) = 2 * (-0.125) = -0.25

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors".
    """
    network = network_of(model, "trace")
    given = Loss.make(model.last_fit.get("loss", "mse") if loss is None else loss, "loss")
    rows, targets = to_rows(x, "x"), to_array([y] if np.isscalar(y) else y, "y")
    if not isinstance(rows, np.ndarray):
        raise DataError("trace: expected dense rows, got a sparse matrix; pass x.toarray()")
    rows = rows[None] if rows.shape == model.in_shape else rows
    check_row_shape(rows, model.in_shape, "trace")
    network.check_input(rows, "x")
    if targets.shape == given.target_shape(model.out_shape) and len(rows) == 1:
        targets = targets[None]
    given.check_target(targets, model.out_shape, len(rows))
    return Trace(model, rows, targets, given, training)


class Trace(Sequence[TracedLayer]):
    """A forward and a backward pass, layer by layer; made by `nnkit.trace`.

    Attributes
    ----------
    layers : the textbook's layers, see `TracedLayer`; also by ``trace[index]``
    loss : the loss; ``value`` is its value for the batch
    x, y : the batch
    out : the output, that of the last layer
    """

    def __init__(self, model: Sequential, x: NDArray[Any], y: NDArray[Any], loss: Loss, training: bool) -> None:
        self.model, self.x, self.y, self.loss, self.training = model, x, y, loss, training
        replay = self.replay(model.dtype)
        self.value = replay.forward()
        self.out = replay.prediction
        replay.backward()
        self.layers = list(_layers(replay))

    def replay(self, dtype: str) -> Replay:
        """The same passes once more."""
        return Replay(self.model, self.x, self.y, self.loss, training=self.training, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def title(self) -> str:
        """What was traced."""
        rows = f"{len(self.x)} row{'s' if len(self.x) > 1 else ''}"
        model = repr(self.model)
        if len(model) > LONGEST:
            model = f"{type(self.model).__name__} of {len(self.model.layers)} layers"
        return f"{model}, {rows}, {type(self.loss).__name__}: L = {self.value:.5g}"

    def __repr__(self) -> str:
        return f"Trace({self.title})"

    def place_of(self, row: int) -> int:
        """Which row of the batch is meant, from 0; negative ones count from the end."""
        rows = len(self.x)
        if isinstance(row, bool) or not isinstance(row, int | np.integer) or not -rows <= row < rows:
            raise ParameterError(f"trace: expected row to be one of the batch's {rows} rows, counted from 0, got {row!r}")
        return int(row) % rows

    def text(self, row: int = 0) -> str:
        """The chain rule with the numbers of one row of the batch; gradients by parameters are those of the batch.

        Of layers with more than 4 inputs or outputs two units are written out, of more than 24 layers the first and last 12.
        """
        from nnkit.inspect.derivation import derivation

        return derivation(self, row).text()

    __str__ = text

    def latex(self, row: int = 0) -> str:
        """The same as `text`, for LaTeX (amsmath)."""
        from nnkit.inspect.derivation import derivation

        return derivation(self, row).latex()

    _repr_latex_ = latex

    def _repr_html_(self) -> str:
        from nnkit.inspect.derivation import derivation

        return derivation(self, 0).html()

    def check(self, most: int | None = None, random_state: int = 0) -> GradientCheck:
        """Compare every gradient with central differences, (L(p + h) - L(p - h)) / 2h, in float64.

        Parameters
        ----------
        most : how many numbers of each array are looked at, drawn at random where it has more; at least 1. Each takes two
            passes forward; by default as many as take about 20 seconds in all, from 3 to 100
        random_state : seed of that choice

        Returns
        -------
        GradientCheck
            ``print`` shows the gradients beside the differences; ``ok`` says whether all agree.
        """
        from nnkit.inspect.gradients import check_gradients

        return check_gradients(self, most, random_state)

    def plot(self, row: int = 0, ax: Any = None) -> Any:
        """Draw the net twice: activations forward, and delta backward, as colours.

        Parameters
        ----------
        row : of the batch
        ax : matplotlib's Axes to draw into, optional; two of them, or one for the activations alone

        Returns
        -------
        array of Axes

        Raises
        ------
        MissingLibraryError
            Matplotlib is not installed (``pip install "nnkit-numba[plot]"``).
        """
        from nnkit.inspect.trace_plot import plot_trace

        return plot_trace(self, row, ax)


def _layers(replay: Replay) -> Iterator[TracedLayer]:
    """The nodes of a pass as layers of the textbook."""
    before: list[Node] = []
    for number, group in enumerate(replay.groups(), 1):
        yield _layer(replay, number, group, bool(before) and leads(before[-1], group[0]))
        before = group


def _layer(replay: Replay, number: int, group: list[Node], follows: bool) -> TracedLayer:
    first, last = group[0], group[-1]
    function = last.built.layer
    z = last.x if is_scalar(function) else last.out

    def numbers(array: Array) -> NDArray[Any]:  # a row may be several entries to a layer: those of TimeDistributed
        held, rows = replay.array(array), len(replay.x)
        return held if len(held) == rows else held.reshape(rows, -1, *held.shape[1:])

    def value(array: Array | None) -> NDArray[Any] | None:
        return None if array is None else numbers(array)

    values, gradients = replay.model.parameters(), replay.model.gradients()
    named = {name: f"{first.home}.{name}" for name in first.built.parameters if f"{first.home}.{name}" in gradients}
    held, a = numbers(z), numbers(last.out)
    return TracedLayer(
        number=number,
        paths=tuple(node.name.partition(",")[0].removeprefix("layer ") for node in group),
        layers=tuple(node.built.layer for node in group),
        x=numbers(first.x),
        z=held,
        a=a,
        da_dz=Slopes(function, replay.model.dtype)(held, a) if is_scalar(function) else np.ones_like(held),
        dL_da=value(last.grad_out),
        delta=value(last.grad_x if is_scalar(function) else last.grad_out),
        grad_x=value(first.grad_x) if first.x.dtype == replay.model.dtype else None,  # of whole numbers there is none
        parameters={name: values[full].copy() for name, full in named.items()},
        gradients={name: gradients[full].copy() for name, full in named.items()},
        follows=follows,
    )
