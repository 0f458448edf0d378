"""The simple recurrent net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import OnnxError
from nnkit.kernels.gemm import multiply, transpose
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

__all__ = ["RNN"]


def rnn_step(gate, product, biases, relu, hidden):
    """One row, one step."""
    if relu:
        for j in range(hidden.shape[0]):
            hidden[j] = max(gate[j] + product[j] + biases[j], 0.0)
    else:
        assign(gate, hidden)
        activate(hidden, product, biases, True)


def rnn_step_back(gate, hidden, relu, delta):
    """One row, one step: gate becomes its gradient; nothing passes by it."""
    for j in range(hidden.shape[0]):
        slope = (1.0 if hidden[j] > 0.0 else 0.0) if relu else 1.0 - hidden[j] * hidden[j]
        gate[j] = delta[j] * slope
        delta[j] = 0.0


@register("rnn")
class RNN(Recurrent):
    """The simple recurrent net: h_t = f(x_t @ weight_ih + bias_ih + h_(t-1) @ weight_hh + bias_hh), h_0 = 0.

    Backward, from the last step to the first, with delta = dL/dh_t f', where f' = 1 - h_t**2 for tanh and [h_t > 0] for relu:

    - dL/dh_(t-1) = delta @ weight_hh.T, grad_x_t = delta @ weight_ih.T,
    - grad_weight_ih = sum_t x_t.T @ delta, grad_weight_hh = sum_t h_(t-1).T @ delta, both biases' gradient = sum_t delta.

    Where there is a mask (`Masking`), a padded step leaves the state as it was, and its output is 0.

    Stacks and two directions are chains of layers in one direction, and their parameters are named by the place there, such as
    ``"0.1.0.weight_ih"``. All parameters begin uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)], as PyTorch's.

    Parameters
    ----------
    hidden_size : int >= 1
    num_layers : int from 1 to 1000; each further layer takes the states of the one before as its input
    dropout : float in [0, 1), of the states between the layers of a stack
    nonlinearity : "tanh" or "relu"
    bidirectional : also take the steps from the last to the first, with parameters of their own, and concatenate
    return_sequences : give the states of all steps, or (default) the last one that each direction comes to
    bias : bool, default True
    reverse : take the steps from the last to the first; out stays in the sequence's order

    Shape
    -----
    x: (N, steps, features) -> out: (N, hidden), or (N, steps, hidden) with return_sequences, where hidden is hidden_size times
    the number of directions; weight_ih: (features, hidden_size), weight_hh: (hidden_size, hidden_size), bias_ih and bias_hh:
    (hidden_size,).

    Raises
    ------
    ShapeError
        The input is no sequence of features.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.RNN(8)]).build((28, 4)).out_shape
    (8,)
    >>> nn.Sequential([nn.RNN(8, bidirectional=True, return_sequences=True)]).build((28, 4)).out_shape
    (28, 16)
    >>> model = nn.Sequential([nn.RNN(2, bidirectional=True, return_sequences=True)]).build((3, 2), random_state=0)
    >>> model.predict([[[1.0, 0.5], [-2.0, 3.0], [0.0, 1.0]]]).round(3)
    array([[[ 0.361, -0.638,  0.164, -0.833],
            [-0.943, -0.902, -0.317, -0.304],
            [-0.601, -0.924, -0.101, -0.654]]], dtype=float32)
    >>> model = nn.Sequential([nn.Masking(), nn.RNN(2, return_sequences=True)]).build((2, 1))
    >>> model.predict([[[0.0], [3.0]]])[0, 0]  # of a padded step
    array([0., 0.], dtype=float32)

    References
    ----------
    Elman 1990, "Finding structure in time".
    """

    gate_count = 1
    operator = "RNN"
    gate_order = (0,)
    elsewhere = ("input_size", "hidden_size", "num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional")
    nonlinearities: ClassVar[dict[str, bool]] = {"tanh": False, "relu": True}  # what the kernels know as ``relu``

    def __init__(
        self,
        hidden_size: int = 1,
        *,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
        reverse: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity
        self.require("nonlinearity", nonlinearity in self.nonlinearities, "'tanh' or 'relu'")
        super().__init__(
            hidden_size, num_layers=num_layers, dropout=dropout, bidirectional=bidirectional, return_sequences=return_sequences,
            bias=bias, reverse=reverse,
        )  # fmt: skip

    def build(self, in_shape: Shape) -> Shape:
        self.relu = self.nonlinearities[self.nonlinearity]
        self.scratch("product", (self.hidden_size,))
        self.workspace("biases", (self.hidden_size,))
        return super().build(in_shape)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(0.0) if self.nonlinearities[self.nonlinearity] else Span(-1.0, 1.0)

    @staticmethod
    def forward(
        x, weight_ih, weight_hh, bias_ih, bias_hh, mask, reverse, return_sequences, relu, inputs, gates, hidden, product,
        biases, out,
    ):  # fmt: skip
        rows, steps, features = x.shape
        size = weight_hh.shape[0]
        h, taken = hidden.reshape((steps + 1, rows, size)), gates.reshape((steps * rows, size))
        project(x, weight_ih, reverse, inputs.reshape((steps * rows, features)), taken)
        biases[:] = 0.0
        add(bias_ih, biases)
        add(bias_hh, biases)
        h[0] = 0.0
        for s in range(steps):
            multiply(h[s], weight_hh, product, True)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    assign(h[s, n], h[s + 1, n])
                else:
                    rnn_step(taken[s * rows + n], product[n], biases, relu, h[s + 1, n])
        give(h, mask, reverse, return_sequences, out)

    @staticmethod
    def backward(
        weight_hh, mask, reverse, return_sequences, relu, inputs, hidden, delta, passed, weight_t,
        grad_out, grad_gates, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        rows, steps, features = inputs.shape
        size = weight_hh.shape[0]
        taken, h = grad_gates.reshape((steps * rows, size)), hidden.reshape(((steps + 1) * rows, size))
        transpose(weight_hh, weight_t)
        delta[:] = 0.0
        grad_bias_ih[:] = 0.0
        for s in range(steps - 1, -1, -1):
            receive(grad_out, mask, reverse, return_sequences, steps - 1 - s, delta)
            now = taken[s * rows : (s + 1) * rows]
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    now[n] = 0.0
                else:
                    rnn_step_back(now[n], h[(s + 1) * rows + n], relu, delta[n])
            add_rows(now, grad_bias_ih)
            go_back(now, weight_t, passed, delta)
        multiply(inputs.reshape((steps * rows, features)).T, taken, grad_weight_ih, True)
        multiply(h[: steps * rows].T, taken, grad_weight_hh, True)
        assign(grad_bias_ih, grad_bias_hh)

    def onnx_attributes(self):
        return {"activations": [self.nonlinearity.capitalize()]}

    @classmethod
    def from_onnx_attributes(cls, node, directions):
        name, *others = {name.lower() for name in node.attributes["activations"][:directions]}
        if others:
            raise OnnxError(f"expected the same activation in both directions, got {node.attributes['activations']}")
        return {"nonlinearity": name}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (3, 2)), Example(cls(2, nonlinearity="relu", return_sequences=True), (4, 3))]
