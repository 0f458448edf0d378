"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.kernels.gemm import multiply, transpose
from nnkit.kernels.math import tanh
from nnkit.layers.recurrent.layer import Recurrent
from nnkit.layers.recurrent.steps import (
    activate,
    add,
    add_rows,
    assign,
    give,
    go_back,
    is_padding,
    mirrored,
    project,
    receive,
)

__all__ = ["LSTM"]


def lstm_step(gates, product, biases, cell, next_cell, hidden):
    """One row, one step: gates become i, f, g and o."""
    for k in range(4):
        activate(gates[k], product[k], biases[k], k == 2)
    size, i, f, g, o = cell.shape[0], gates[0], gates[1], gates[2], gates[3]
    for j in range(size):
        next_cell[j] = f[j] * cell[j] + i[j] * g[j]
    for j in range(size):
        hidden[j] = o[j] * tanh(next_cell[j])


def lstm_step_back(gates, cell, next_cell, delta, delta_cell):
    """One row, one step: gates become their gradients, before sigmoid and tanh. Only the cell's state passes by them."""
    size, i, f, g, o = cell.shape[0], gates[0], gates[1], gates[2], gates[3]
    for j in range(size):
        squashed = tanh(next_cell[j])
        grad = delta[j] * o[j]
        delta_cell[j] += grad * (1.0 - squashed * squashed)
        o[j] = grad * squashed * (1.0 - o[j])
        delta[j] = 0.0
    for j in range(size):
        grad, candidate = delta_cell[j] * i[j], g[j]
        g[j] = grad * (1.0 - candidate * candidate)
        i[j] = grad * candidate * (1.0 - i[j])
    for j in range(size):
        grad = delta_cell[j] * f[j]
        f[j] = grad * cell[j] * (1.0 - f[j])
        delta_cell[j] = grad


@register("lstm")
class LSTM(Recurrent):
    """Long short-term memory: a cell c that gates write to, keep and read.

    With s the sigmoid, every step t of the sequence takes x_t, h_(t-1) and c_(t-1), which begin as 0, to

    - a = x_t @ weight_ih + bias_ih + h_(t-1) @ weight_hh + bias_hh, cut into a_i, a_f, a_g and a_o,
    - i = s(a_i), f = s(a_f), g = tanh(a_g), o = s(a_o),
    - c_t = f c_(t-1) + i g, h_t = o tanh(c_t), or, with ``proj_size``, h_t = (o tanh(c_t)) @ weight_hr.

    Backward, from the last step to the first, dL/dh_t being grad_out's part and what comes from step t + 1:

    - dL/dc_t = dL/dc_(t+1) f_(t+1) + dL/dh_t o (1 - tanh(c_t)**2),
    - dL/da = (dL/dc_t g i (1 - i), dL/dc_t c_(t-1) f (1 - f), dL/dc_t i (1 - g**2), dL/dh_t tanh(c_t) o (1 - o)),
    - dL/dh_(t-1) = dL/da @ weight_hh.T, grad_x_t = dL/da @ weight_ih.T,
    - grad_weight_ih = sum_t x_t.T @ dL/da, grad_weight_hh = sum_t h_(t-1).T @ dL/da, both biases' gradient = sum_t dL/da.

    With ``proj_size``, dL/dh_t @ weight_hr.T stands for dL/dh_t in the first two lines, and grad_weight_hr = sum_t
    (o tanh(c_t)).T @ dL/dh_t.

    Where there is a mask (`Masking`), a padded step leaves the state as it was, and its output is 0.

    Stacks and two directions are chains of layers in one direction, and their parameters are named by the place there, such as
    ``"0.1.0.weight_ih"``. All parameters begin uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)], as PyTorch's.

    Parameters
    ----------
    hidden_size : int >= 1
    num_layers : int from 1 to 1000; each further layer takes the states of the one before as its input
    dropout : float in [0, 1), of the states between the layers of a stack
    bidirectional : also take the steps from the last to the first, with parameters of their own, and concatenate
    return_sequences : give the states of all steps, or (default) the last one that each direction comes to
    bias : bool, default True
    reverse : take the steps from the last to the first; out stays in the sequence's order
    proj_size : int from 0 to below hidden_size: so many numbers h has, fewer than c; 0 (default): as many as c

    Shape
    -----
    x: (N, steps, features) -> out: (N, hidden), or (N, steps, hidden) with return_sequences, where hidden is hidden_size, or
    proj_size, times the number of directions; weight_ih: (features, 4 hidden_size), weight_hh: (hidden_size or proj_size, 4
    hidden_size), gates in the order i, f, g, o; bias_ih, bias_hh: (4 hidden_size,); weight_hr: (hidden_size, proj_size).

    Raises
    ------
    ShapeError
        The input is no sequence of features.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LSTM(8)]).build((28, 4)).out_shape
    (8,)
    >>> nn.Sequential([nn.LSTM(8, bidirectional=True, return_sequences=True)]).build((28, 4)).out_shape
    (28, 16)
    >>> model = nn.Sequential([nn.LSTM(2, bidirectional=True)]).build((3, 2), random_state=0)
    >>> model.predict([[[1.0, 0.5], [-2.0, 3.0], [0.0, 1.0]]]).round(3)
    array([[ 0.179,  0.008, -0.368,  0.405]], dtype=float32)
    >>> model = nn.Sequential([nn.Masking(), nn.LSTM(2, return_sequences=True)]).build((2, 1))
    >>> model.predict([[[0.0], [3.0]]])[0, 0]  # of a padded step
    array([0., 0.], dtype=float32)

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory"; Gers, Schmidhuber and Cummins 2000, "Learning to forget:
    continual prediction with LSTM" (f); Sak, Senior and Beaufays 2014, "Long short-term memory recurrent neural network
    architectures for large scale acoustic modeling" (proj_size).
    """

    gate_count = 4
    operator = "LSTM"
    gate_order = (0, 3, 1, 2)  # i, o, f, g
    onnx_activations = ("Sigmoid", "Tanh", "Tanh")

    def __init__(
        self,
        hidden_size: int = 1,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
        reverse: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__(
            hidden_size, num_layers=num_layers, dropout=dropout, bidirectional=bidirectional, return_sequences=return_sequences,
            bias=bias, reverse=reverse,
        )  # fmt: skip
        self.proj_size = proj_size
        self.require_size("proj_size", 0)
        self.require("proj_size", proj_size < hidden_size, f"below hidden_size={hidden_size}")

    @property
    def gives(self) -> Span | None:  # type: ignore[override]
        return None if self.proj_size else Span(-1.0, 1.0)

    @property
    def state_size(self) -> int:
        return self.proj_size or self.hidden_size

    def build(self, in_shape: Shape) -> Shape:
        out_shape = super().build(in_shape)
        steps, size, some = in_shape[0], self.hidden_size, self.proj_size
        self.parameter("weight_hr", (size, some) if some else (0, 0), self.init())
        self.scratch("cells", (steps + 1, size))
        self.scratch("product", (4 * size,))
        self.scratch("delta_cell", (size,))
        self.workspace("biases", (4 * size,))
        # Of a state that is projected: before that, its gradient at every step, and that before the projection.
        self.scratch("wide", (steps, size if some else 0))
        self.scratch("deltas", (steps, some))
        self.scratch("delta_wide", (size if some else 0,))
        self.workspace("weight_rh", (some, size) if some else (0, 0))
        return out_shape

    @staticmethod
    def forward(
        x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, mask, reverse, return_sequences, inputs, gates, hidden, cells,
        product, biases, wide, out,
    ):  # fmt: skip
        rows, steps, features = x.shape
        size, some, projects = cells.shape[2], weight_hh.shape[0], weight_hr.size > 0
        h, c = hidden.reshape((steps + 1, rows, some)), cells.reshape((steps + 1, rows, size))
        a, p, b = gates.reshape((steps, rows, 4, size)), product.reshape((rows, 4, size)), biases.reshape((4, size))
        o = wide.reshape((steps, rows, size)) if projects else h[1:]
        project(x, weight_ih, reverse, inputs.reshape((steps * rows, features)), gates.reshape((steps * rows, 4 * size)))
        biases[:] = 0.0
        add(bias_ih, biases)
        add(bias_hh, biases)
        h[0] = 0.0
        c[0] = 0.0
        for s in range(steps):
            multiply(h[s], weight_hh, product, True)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    o[s, n] = 0.0  # without a projection, it is the state
                    assign(h[s, n], h[s + 1, n])
                    assign(c[s, n], c[s + 1, n])
                else:
                    lstm_step(a[s, n], p[n], b, c[s, n], c[s + 1, n], o[s, n])
            if projects:
                multiply(o[s], weight_hr, h[s + 1], True)
                for n in range(rows):
                    if is_padding(mask, n, mirrored(s, steps, reverse)):
                        assign(h[s, n], h[s + 1, n])
        give(h, mask, reverse, return_sequences, out)

    @staticmethod
    def backward(
        weight_hh, weight_hr, mask, reverse, return_sequences, inputs, gates, hidden, cells, wide, delta, delta_cell, deltas,
        delta_wide, passed, weight_t, weight_rh, grad_out, grad_gates, grad_weight_ih, grad_weight_hh, grad_bias_ih,
        grad_bias_hh, grad_weight_hr,
    ):  # fmt: skip
        rows, steps, features = inputs.shape
        size, some, projects = cells.shape[2], weight_hh.shape[0], weight_hr.size > 0
        a, c = grad_gates.reshape((steps, rows, 4, size)), cells.reshape((steps + 1, rows, size))
        before, now = gates.reshape((steps, rows, 4 * size)), grad_gates.reshape((steps, rows, 4 * size))
        d = delta_wide if projects else delta
        transpose(weight_hh, weight_t)
        transpose(weight_hr, weight_rh)
        delta[:] = 0.0
        delta_cell[:] = 0.0
        grad_bias_ih[:] = 0.0
        for s in range(steps - 1, -1, -1):
            receive(grad_out, mask, reverse, return_sequences, steps - 1 - s, delta)
            if projects:
                told = deltas.reshape((steps, rows, some))[s]
                for n in range(rows):
                    if is_padding(mask, n, mirrored(s, steps, reverse)):
                        told[n] = 0.0
                    else:
                        assign(delta[n], told[n])
                        delta[n] = 0.0
                multiply(told, weight_rh, delta_wide, True)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    a[s, n] = 0.0
                else:
                    assign(before[s, n], now[s, n])
                    lstm_step_back(a[s, n], c[s, n], c[s + 1, n], d[n], delta_cell[n])
            add_rows(now[s], grad_bias_ih)
            go_back(now[s], weight_t, passed, delta)
        taken = grad_gates.reshape((steps * rows, 4 * size))
        multiply(inputs.reshape((steps * rows, features)).T, taken, grad_weight_ih, True)
        multiply(hidden.reshape(((steps + 1) * rows, some))[: steps * rows].T, taken, grad_weight_hh, True)
        assign(grad_bias_ih, grad_bias_hh)
        if projects:
            multiply(wide.reshape((steps * rows, size)).T, deltas.reshape((steps * rows, some)), grad_weight_hr, True)

    def onnx(self, graph, x):
        """The operator knows no projection: its state is the wide one, which meets the product of both matrices."""
        out = super().onnx(graph, x)
        return out @ graph.array("weight_hr") if self.proj_size else out

    def onnx_recurrence(self, graph):
        weight = super().onnx_recurrence(graph)
        return graph.array("weight_hr").array @ weight if self.proj_size else weight

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [*super().examples(), Example(cls(3, proj_size=2, return_sequences=True), (3, 2))]
