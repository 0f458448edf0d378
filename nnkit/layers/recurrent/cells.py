"""One step of a recurrence, by hand: the next state of an input and a state, with the same steps as the layers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar

from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import ACROSS, STRIP, dot, dot_transposed, sum_rows
from nnkit.layers.merge import packed
from nnkit.layers.recurrent.gru import GRU, gru_step, gru_step_back
from nnkit.layers.recurrent.layer import Recurrent, operator_gates
from nnkit.layers.recurrent.lstm import LSTM, lstm_step, lstm_step_back
from nnkit.layers.recurrent.rnn import RNN, rnn_step, rnn_step_back
from nnkit.layers.recurrent.steps import add, assign

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class Cell(Layer):
    """What the cells have in common: everything but the gates."""

    inputs = ("x_t", "hx")
    elsewhere: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size", "bias")
    layer: ClassVar[type[Recurrent]]  # whose step it is
    states: ClassVar[int] = 1  # of how many numbers for each unit the state consists

    def __init__(self, hidden_size: int = 1, *, bias: bool = True) -> None:
        self.hidden_size = hidden_size
        self.bias = bias
        self.require_size("hidden_size")

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        size, width = self.hidden_size, self.layer.gate_count * self.hidden_size
        if len(in_shape["x_t"]) != 1 or in_shape["hx"] != (self.states * size,):
            raise ShapeError(f"{self!r}: expected rows x_t (features,) and hx ({self.states * size},), the state before, got "
                             f"{in_shape['x_t']} and {in_shape['hx']}")  # fmt: skip
        init = Uniform(-1 / sqrt(size), 1 / sqrt(size))
        self.parameter("weight_ih", (*in_shape["x_t"], width), init)
        self.parameter("weight_hh", (size, width), init)
        self.parameter("bias_ih", (width if self.bias else 0,), init)
        self.parameter("bias_hh", (width if self.bias else 0,), init)
        self.scratch("gates", (width,))
        self.scratch("products", (width,))
        self.workspace("strip", (min(STRIP, width), ACROSS))
        return in_shape["hx"]

    def onnx(self, graph, x):
        """A sequence of one step, which begins with the state."""
        x_t, hx = fields(x).values()
        states = graph.nodes(self.states, "Split", hx, [self.hidden_size] * self.states, axis=1) if self.states > 1 else [hx]
        states = [graph.node("Unsqueeze", state, [0]) for state in states]
        gates = operator_gates(graph, self.layer, self.hidden_size, self.bias, graph.array("weight_hh").array)
        outputs = graph.nodes(1 + self.states, self.layer.operator, graph.node("Unsqueeze", x_t, [0]), *gates, None, *states,
                              hidden_size=self.hidden_size, **self.onnx_attributes())  # fmt: skip
        last = [graph.node("Squeeze", state, [0]) for state in outputs[1:]]
        return last[0] if len(last) == 1 else graph.node("Concat", *last, axis=1)

    def onnx_attributes(self) -> dict[str, Any]:
        """What the operator has to know beside the sizes."""
        return {}

    @classmethod
    def from_onnx(cls, at):
        """Nothing: what is read is a layer of one input."""

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: array.T for name, array in arrays.items()}  # a bias is its own transpose

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(3), x_t=(2,), hx=(3 * cls.states,)),
            packed(cls(2, bias=False), x_t=(3,), hx=(2 * cls.states,)),
        ]


@register("rnn_cell")
class RNNCell(Cell):
    """One step of the simple recurrent net: out = f(x_t @ weight_ih + bias_ih + hx @ weight_hh + bias_hh).

    With delta = grad_out f', where f' = 1 - out**2 for tanh and [out > 0] for relu: grad_x_t = delta @ weight_ih.T, grad_hx =
    delta @ weight_hh.T, the weights' gradients are x_t.T @ delta and hx.T @ delta, those of the biases the sum of delta.

    Parameters
    ----------
    hidden_size : int >= 1
    bias : bool, default True
    nonlinearity : "tanh" or "relu"

    Shape
    -----
    x_t: (N, features), hx: (N, hidden_size) -> out: (N, hidden_size); parameters as those of `RNN`.

    Raises
    ------
    ShapeError
        x_t has more axes, or hx another size.

    Examples
    --------
    >>> import nnkit as nn
    >>> cell = nn.RNNCell(4)
    >>> two = nn.Graph(first=(("a", "start"), cell), second=(("b", "first"), cell))
    >>> nn.Sequential([two]).build({"a": (3,), "start": (4,), "b": (3,)}).out_shape
    (4,)

    References
    ----------
    Elman 1990, "Finding structure in time".
    """

    layer = RNN
    elsewhere = ("input_size", "hidden_size", "bias", "nonlinearity")

    def __init__(self, hidden_size: int = 1, *, bias: bool = True, nonlinearity: str = "tanh") -> None:
        super().__init__(hidden_size, bias=bias)
        self.nonlinearity = nonlinearity
        self.require("nonlinearity", nonlinearity in RNN.nonlinearities, "'tanh' or 'relu'")

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(0.0) if RNN.nonlinearities[self.nonlinearity] else Span(-1.0, 1.0)

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        self.relu = RNN.nonlinearities[self.nonlinearity]
        self.workspace("biases", (self.hidden_size,))
        return super().build(in_shape)

    @staticmethod
    def forward(x_t, hx, weight_ih, weight_hh, bias_ih, bias_hh, relu, gates, products, biases, out):
        dot(x_t, weight_ih, gates)
        dot(hx, weight_hh, products)
        biases[:] = 0.0
        add(bias_ih, biases)
        add(bias_hh, biases)
        for n in range(x_t.shape[0]):
            rnn_step(gates[n], products[n], biases, relu, out[n])

    @staticmethod
    def backward(
        x_t, hx, weight_ih, weight_hh, relu, out, grad_out, grad_gates, strip, grad_x_t, grad_hx, grad_weight_ih,
        grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        for n in range(x_t.shape[0]):
            assign(grad_out[n], grad_hx[n])
            rnn_step_back(grad_gates[n], out[n], relu, grad_hx[n])
        dot(x_t.T, grad_gates, grad_weight_ih)
        dot(hx.T, grad_gates, grad_weight_hh)
        sum_rows(grad_gates, grad_bias_ih)
        assign(grad_bias_ih, grad_bias_hh)
        dot_transposed(grad_gates, weight_ih, strip, grad_x_t)
        dot_transposed(grad_gates, weight_hh, strip, grad_hx)

    def onnx_attributes(self):
        return {"activations": [self.nonlinearity.capitalize()]}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [*super().examples(), packed(cls(2, nonlinearity="relu"), x_t=(2,), hx=(2,))]


@register("gru_cell")
class GRUCell(Cell):
    """One step of the gated recurrent unit, whose formulas are in `GRU`: out is h_t of x_t and hx, which is h_(t-1).

    Parameters
    ----------
    hidden_size : int >= 1
    bias : bool, default True

    Shape
    -----
    x_t: (N, features), hx: (N, hidden_size) -> out: (N, hidden_size); parameters as those of `GRU`.

    Raises
    ------
    ShapeError
        x_t has more axes, or hx another size.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(out=(("x", "hx"), nn.GRUCell(4)))
    >>> nn.Sequential([net]).build({"x": (3,), "hx": (4,)}).out_shape
    (4,)

    References
    ----------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine translation".
    """

    layer = GRU

    def onnx_attributes(self):
        return {"linear_before_reset": 1}  # r behind the product with weight_hh

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        self.workspace("biases", (4 * self.hidden_size,))
        self.scratch("passed", (self.hidden_size,))  # the part of the state's gradient that comes by the gates
        return super().build(in_shape)

    @staticmethod
    def forward(x_t, hx, weight_ih, weight_hh, bias_ih, bias_hh, gates, products, biases, out):
        rows, size = hx.shape
        dot(x_t, weight_ih, gates)
        dot(hx, weight_hh, products)
        biases[:] = 0.0
        add(bias_ih, biases)
        for j in range(bias_hh.shape[0]):
            biases[j if j < 2 * size else size + j] += bias_hh[j]
        a, p, b = gates.reshape((rows, 3, size)), products.reshape((rows, 3, size)), biases.reshape((4, size))
        for n in range(rows):
            gru_step(a[n], p[n], b, hx[n], out[n])

    @staticmethod
    def backward(
        x_t, hx, weight_ih, weight_hh, gates, products, grad_out, grad_gates, grad_products, strip, grad_x_t, grad_hx,
        grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh, passed,
    ):  # fmt: skip
        rows, size = hx.shape
        a, p = grad_gates.reshape((rows, 3, size)), grad_products.reshape((rows, 3, size))
        for n in range(rows):
            assign(gates[n], grad_gates[n])
            assign(products[n], grad_products[n])
            assign(grad_out[n], passed[n])
            gru_step_back(a[n], p[n], hx[n], passed[n])
        dot(x_t.T, grad_gates, grad_weight_ih)
        dot(hx.T, grad_products, grad_weight_hh)
        sum_rows(grad_gates, grad_bias_ih)
        sum_rows(grad_products, grad_bias_hh)
        dot_transposed(grad_gates, weight_ih, strip, grad_x_t)
        dot_transposed(grad_products, weight_hh, strip, grad_hx)
        for n in range(rows):
            add(passed[n], grad_hx[n])


@register("lstm_cell")
class LSTMCell(Cell):
    """One step of long short-term memory, whose formulas are in `LSTM`: out is (h_t, c_t) of x_t and hx = (h_(t-1), c_(t-1)).

    The two parts of a state lie side by side in one array; `nnkit.Columns` takes h out of it.

    Parameters
    ----------
    hidden_size : int >= 1
    bias : bool, default True

    Shape
    -----
    x_t: (N, features), hx: (N, 2 hidden_size) -> out: (N, 2 hidden_size); parameters as those of `LSTM`.

    Raises
    ------
    ShapeError
        x_t has more axes, or hx another size.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(state=(("x", "hx"), nn.LSTMCell(4)), out=("state", nn.Columns(range(4))))
    >>> nn.Sequential([net]).build({"x": (3,), "hx": (8,)}).out_shape
    (4,)

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory".
    """

    layer = LSTM
    states = 2

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        out_shape = super().build(in_shape)
        self.workspace("biases", (4 * self.hidden_size,))
        self.scratch("hidden", (self.hidden_size,))  # h before, on its own
        self.scratch("passed", (self.hidden_size,))
        return out_shape

    @staticmethod
    def forward(x_t, hx, weight_ih, weight_hh, bias_ih, bias_hh, gates, products, biases, hidden, out):
        rows, size = hidden.shape
        for n in range(rows):
            assign(hx[n], hidden[n])
        dot(x_t, weight_ih, gates)
        dot(hidden, weight_hh, products)
        biases[:] = 0.0
        add(bias_ih, biases)
        add(bias_hh, biases)
        a, p, b = gates.reshape((rows, 4, size)), products.reshape((rows, 4, size)), biases.reshape((4, size))
        for n in range(rows):
            lstm_step(a[n], p[n], b, hx[n, size:], out[n, size:], out[n, :size])

    @staticmethod
    def backward(
        x_t, hx, weight_ih, weight_hh, gates, hidden, out, grad_out, grad_gates, strip, passed, grad_x_t, grad_hx,
        grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        rows, size = hidden.shape
        a = grad_gates.reshape((rows, 4, size))
        for n in range(rows):
            assign(gates[n], grad_gates[n])
            assign(grad_out[n], grad_hx[n])
            lstm_step_back(a[n], hx[n, size:], out[n, size:], grad_hx[n, :size], grad_hx[n, size:])
        dot(x_t.T, grad_gates, grad_weight_ih)
        dot(hidden.T, grad_gates, grad_weight_hh)
        sum_rows(grad_gates, grad_bias_ih)
        assign(grad_bias_ih, grad_bias_hh)
        dot_transposed(grad_gates, weight_ih, strip, grad_x_t)
        dot_transposed(grad_gates, weight_hh, strip, passed)
        for n in range(rows):
            assign(passed[n], grad_hx[n, :size])
