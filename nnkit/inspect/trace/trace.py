"""A trace: one forward and one backward pass with everything kept, to be read, checked and drawn."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnkit.core.container import Model, model_of
from nnkit.core.criterion import Criterion
from nnkit.core.fields import by_name, each
from nnkit.core.loss import Loss
from nnkit.core.terminal import folded, width_of
from nnkit.errors import DataError, ParameterError
from nnkit.inspect.page.page import Page, page_of
from nnkit.inspect.trace.derivation import derivation
from nnkit.inspect.trace.gradients import GradientCheck, check_gradients
from nnkit.inspect.trace.picture import plot_trace
from nnkit.inspect.trace.record import Record, TracedLayer
from nnkit.network import Network, network_of
from nnkit.training.data import check_row_shape, count_of, is_sparse, to_array, to_inputs, to_rows
from nnkit.training.goals import targets_of

__all__ = ["Trace", "trace"]

MOST = 60_000  # numbers of a page that a notebook shows by itself: half a megabyte


def trace(
    model: Model, x: Any, y: Any, loss: Loss | str | Mapping[str, Loss | str] | None = None, *, training: bool = False,
    loss_weights: Mapping[str, float] | None = None,
) -> Trace:  # fmt: skip
    """One forward and one backward pass, with every intermediate result kept.

    With z_j = sum_i w_ij a_i(l-1) + b_j and a_j = s(z_j) in every layer l, delta_j = dL/dz_j = dL/da_j s'(z_j), where dL/da_j
    is the loss's derivative in the output layer, and dL/da_i = sum_j w_ij(l+1) delta_j(l+1) in a hidden one; the gradients are
    dL/dw_ij = delta_j a_i(l-1) and dL/db_j = delta_j, summed over the rows.

    The model is copied: neither its gradients nor its states change.

    Parameters
    ----------
    model : a built `Sequential`, or a fitted estimator: its net, to which classes are numbers from 0
    x : (N, *in_shape), or one row; of several inputs a dict or tuple of these
    y : targets that fit the loss, or one row of them; of several outputs a dict or tuple of these
    loss : Loss or its name, of several outputs a dict of them; by default that of the last `fit`, else "mse"
    training : whether dropout and the like are on
    loss_weights : of several outputs, what each loss weighs in their sum, as for `fit`; by default, as in the last one, where
        its loss is taken, too

    Returns
    -------
    Trace
        ``print`` writes the chain rule out with its numbers, a notebook shows it typeset; ``trace[0]`` is the first layer,
        ``trace[-1].delta`` an array; ``check()`` compares with finite differences, ``plot()`` draws, and ``to_html()``
        makes a page on which the net computes step by step.

    Raises
    ------
    NotBuiltError, ShapeError, DataError, ParameterError

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Linear(1), nn.Sigmoid()]).build((1,), dtype="float64")
    >>> model.parameters()["0.weight"][:], model.parameters()["0.bias"][:] = 2.0, -1.0
    >>> trace = nn.trace(model, [0.5], [1.0], nn.HalfSquaredErrorLoss())
    >>> trace[0].z, trace[0].a, trace[0].dL_da, trace[0].delta
    (array([[0.]]), array([[0.5]]), array([[-0.5]]), array([[-0.125]]))
    >>> print(trace.text().partition("Input")[2])
    <BLANKLINE>
      dL/dx_i = sum_j(w_ij(1) * delta_j(1))
    <BLANKLINE>
      dL/dx_1 = w_11(1) * delta_1(1) = 2 * (-0.125) = -0.25

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors".
    """
    model, network = model_of(model, "trace"), network_of(model, "trace")
    last = model.last_fit
    loss, loss_weights = (last.get("loss", "mse"), last.get("loss_weights")) if loss is None else (loss, loss_weights)
    criterion = Criterion.make(loss, loss_weights, network.out_shape, "trace")
    rows = _rows(network, x)
    targets = _targets(network, criterion, y, count_of(rows))
    return Trace(model, rows, targets_of(criterion, targets, network.out_shape, count_of(rows), "trace"), criterion, training)


def _rows(network: Network, x: Any) -> Any:
    """The rows of a batch, or the only one, as a batch."""
    names = tuple(network.in_shape) if isinstance(network.in_shape, dict) else ()

    def batch(shape: Any, given: Any) -> Any:
        rows = to_rows(given, "x")
        if is_sparse(rows):
            raise DataError("trace: expected dense rows, got a sparse matrix; pass x.toarray()")
        return rows[None] if rows.shape == shape else rows

    rows = to_inputs(each(batch, network.in_shape, by_name(x, names, "trace", "x")), names, "trace", "x")
    check_row_shape(rows, network.in_shape, "trace", "x")
    network.check_input(rows, "x")
    return rows


def _targets(network: Network, criterion: Criterion, y: Any, rows: int) -> Any:
    """The targets of a batch, or those of the only row, as a batch."""
    names = tuple(network.out_shape) if isinstance(network.out_shape, dict) else ()

    def batch(shape: Any, given: Any, loss: Loss) -> Any:
        targets = to_array([given] if np.isscalar(given) else given, "y")
        return targets[None] if targets.shape == loss.target_shape(shape) and rows == 1 else targets

    return each(batch, network.out_shape, by_name(y, names, "trace", "y"), criterion.given)


class Trace(Record, Sequence[TracedLayer]):
    """A forward and a backward pass, layer by layer; made by `nnkit.trace`.

    Attributes
    ----------
    layers : the textbook's layers, each of `TracedLayer`; also by ``trace[index]``
    inputs : the inputs of the net, each of `TracedInput`
    loss : the loss, of several outputs a dict of losses; ``value`` is its value for the batch, or that of their weighted sum
    x, y : the batch
    out : the output; of several inputs or outputs, these are dicts of arrays

    Examples
    --------
    >>> import nnkit as nn
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
    """

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Trace({self.title})"

    def text(self, row: int = 0) -> str:
        """The chain rule with the numbers of one row of the batch; gradients by parameters are those of the batch.

        Of layers with more than 4 inputs or outputs two units are written out, of more than 24 layers the first and last 12.
        """
        return derivation(self, row).text()

    def __str__(self) -> str:
        text = self.text()
        return folded(text, width_of(sys.stdout, len(text)), indent="      ")

    def latex(self, row: int = 0) -> str:
        """The same as `text`, for LaTeX (amsmath)."""
        return derivation(self, row).latex()

    _repr_latex_ = latex

    def _repr_html_(self) -> str:
        """The page in a frame, unless it is too large to be kept in a notebook; and the chain rule, which runs nothing."""
        typeset = derivation(self, 0).html()
        if sum(layer.z.size + sum(map(np.size, layer.parameters.values())) for layer in self.layers) > MOST:
            return typeset
        frame = self.to_html()._repr_html_()
        return f"<div>{frame}<details><summary>The chain rule, one step below the other</summary>{typeset}</details></div>"

    def to_html(self, path: str | Path | None = None, *, row: int = 0, lr: float = 0.5) -> Page:
        """A page for a browser, on which the net computes its backpropagation step by step: one file that needs nothing else.

        Every stage has its formula, the same with numbers, the places in a picture of the net that they come from, and for a
        gradient its finite difference. Weights, biases, inputs, targets and the learning rate may be dragged, and "one step"
        trains: the page computes with the parts' own functions, translated to JavaScript, those of plugins, too. A net that is
        no chain of weighted sums and functions, or has a part that cannot be translated, is shown with the numbers of this
        trace, and the page says why. Worked examples and scenes come with every page.

        Parameters
        ----------
        path : of the file, such as "backprop.html"; None: it is not written
        row : of the batch, from 0, which is shown at first
        lr : learning rate of the update of a weight, above 0

        Returns
        -------
        Page
            A str with the HTML; a notebook shows it.

        Raises
        ------
        ParameterError

        Examples
        --------
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(2), nn.Sigmoid()]).build((3,), random_state=0)
        >>> page = nn.trace(model, [0.1, 0.2, 0.3], [0.0, 1.0], "half_squared_error").to_html()
        >>> page[:15], len(page) < 150_000
        ('<!DOCTYPE html>', True)
        """
        if isinstance(lr, bool) or not isinstance(lr, int | float | np.number) or not 0.0 < lr < np.inf:
            raise ParameterError(f"Trace.to_html: expected lr to be a finite number above 0, got {lr!r}")
        page = page_of(self, row, float(lr))
        if path is not None:
            Path(path).write_text(page, "utf-8", newline="\n")
        return page

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
        return check_gradients(self.replay("float64"), most, random_state)

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
        return plot_trace(self, row, ax)
