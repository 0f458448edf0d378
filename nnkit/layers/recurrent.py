"""Recurrent layers: a state that every step of a sequence changes.

All of them work alike. The product of all steps' inputs with ``weight_ih`` is one matrix product; then each step multiplies
the state with ``weight_hh`` and goes through the gates, which are the only thing in which the layers differ. Backward goes
back step by step in the same way, and leaves the gates' gradients where the gates were; the weights' gradients are again one
matrix product over all steps.

Working arrays have the steps first, in the order in which they are taken (``reverse`` takes the last one first), so that what
one step needs of all rows is one contiguous matrix. A padded step leaves the state as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import transpose
from nnkit.kernels.math import sigmoid, tanh

__all__ = ["LSTM"]


# ------------------------------------------------------------------------------------------- what the kernels share


def is_padding(mask, n, t):
    """Whether step t of row n is padding; without a mask none is."""
    return mask.shape[1] > 0 and mask[n, t] == 0


def moment(step, steps, reverse):
    """Where in the sequence the step is that is taken as number ``step``; and the other way round."""
    return steps - 1 - step if reverse else step


def assign(source, target):
    """Target = source, one row of numbers."""
    for j in range(target.shape[0]):
        target[j] = source[j]


def add(source, target):
    """Target += source, one row of numbers."""
    for j in range(target.shape[0]):
        target[j] += source[j]


def project(x, weight_ih, reverse, inputs, gates):
    """Bring the steps to the front, in the order in which they are taken: inputs; gates = inputs @ weight_ih."""
    rows, steps, features = x.shape
    taken = inputs.reshape((steps, rows, features))
    for s in range(steps):
        for n in range(rows):
            assign(x[n, moment(s, steps, reverse)], taken[s, n])
    np.dot(inputs.reshape((steps * rows, features)), weight_ih, gates.reshape((steps * rows, weight_ih.shape[1])))


def multiply(state, weight_hh, recurrent, step):
    """Recurrent = state @ weight_hh; the state before the first step is 0."""
    if step == 0:
        recurrent[:] = 0.0
    else:
        np.dot(state, weight_hh, recurrent)


def give(hidden, mask, reverse, return_sequences, out):
    """Out is the last state, or every step's, in the places that the steps have in the sequence, 0 where they are padding."""
    steps, rows, size = hidden.shape[0] - 1, hidden.shape[1], hidden.shape[2]
    given = out.reshape((rows, steps if return_sequences else 1, size))
    for n in range(rows):
        if return_sequences:
            for t in range(steps):
                if is_padding(mask, n, t):
                    given[n, t] = 0.0
                else:
                    assign(hidden[moment(t, steps, reverse) + 1, n], given[n, t])
        else:
            assign(hidden[steps, n], given[n, 0])


def receive(grad_out, mask, t, delta):
    """Add the gradient of the output at moment t to the state's; padding has none."""
    for n in range(delta.shape[0]):
        if not is_padding(mask, n, t):
            add(grad_out[n, t], delta[n])


def step_back(grad_gates, weight_t, product, grad_hidden, grad_bias):
    """From the gradient of a step's gates to the state before it, beside what has passed by the gates."""
    if grad_bias.shape[0] > 0:
        for n in range(grad_gates.shape[0]):
            add(grad_gates[n], grad_bias)
    np.dot(grad_gates, weight_t, product)
    for n in range(product.shape[0]):
        add(product[n], grad_hidden[n])


class _Recurrent(Layer):
    """One layer and one direction of a recurrent net; subclasses say how a step goes through the gates."""

    gate_count: ClassVar[int]
    reverse: bool = False  # take the last step first

    def __init__(
        self,
        hidden_size: int = 1,
        num_layers: int = 1,
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.return_sequences = return_sequences
        self.bias = bias
        self.require_size("hidden_size")
        self.require_size("num_layers")

    def cells(self) -> list[list[Self]]:
        """Layers, each in one direction or two; the last one alone may give its last state only."""
        directions = [False, True] if self.bidirectional else [False]
        return [
            [self._cell(reverse, self.return_sequences or layer < self.num_layers - 1) for reverse in directions]
            for layer in range(self.num_layers)
        ]

    def _cell(self, reverse: bool, return_sequences: bool) -> Self:
        cell = copy.copy(self)
        cell.num_layers, cell.bidirectional = 1, False
        cell.reverse, cell.return_sequences = reverse, return_sequences
        return cell

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 2:
            raise ShapeError(f"{self!r}: expected input rows (steps, features), got rows of shape {in_shape}")
        steps, features = in_shape
        size = self.hidden_size
        width = self.gate_count * size
        init = Uniform(-1 / sqrt(size), 1 / sqrt(size))
        self.parameter("weight_ih", (features, width), init)
        self.parameter("weight_hh", (size, width), init)
        self.parameter("bias_ih", (width if self.bias else 0,), init)
        self.parameter("bias_hh", (width if self.bias else 0,), init)
        self.scratch("inputs", (steps, features))
        self.scratch("gates", (steps, width))
        self.scratch("hidden", (steps + 1, size))  # the states before the first step and after each
        self.scratch("product", (size,))
        self.scratch("delta", (size,))
        self.workspace("weight_t", (width, size))
        self.passes_mask = self.return_sequences
        return (steps, size) if self.return_sequences else (size,)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return in_shape[0] * parameters

    @staticmethod
    def backward_x(weight_ih, reverse, inputs, gates, grad_x):
        """Backward has left the gates' gradients in ``gates``."""
        rows, steps, features = grad_x.shape
        np.dot(gates.reshape((steps * rows, weight_ih.shape[1])), weight_ih.T, inputs.reshape((steps * rows, features)))
        taken = inputs.reshape((steps, rows, features))
        for n in range(rows):
            for t in range(steps):
                assign(taken[moment(t, steps, reverse), n], grad_x[n, t])

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name.removesuffix("_l0"): array.T for name, array in arrays.items()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (3, 2)), Example(cls(2, return_sequences=True, bias=False), (4, 3))]


# ------------------------------------------------------------------------------------------------------------ layers


def rnn_step(gate, product, bias_ih, bias_hh, relu, hidden):
    """One row, one step: hidden = f(x @ weight_ih + bias_ih + h @ weight_hh + bias_hh)."""
    size = hidden.shape[0]
    add(product, gate)
    if bias_ih.shape[0] > 0:
        add(bias_ih, gate)
        add(bias_hh, gate)
    for j in range(size):
        hidden[j] = max(gate[j], 0.0) if relu else tanh(gate[j])


def rnn_step_back(gate, hidden, relu, grad_hidden):
    """Gate = its gradient; nothing of the state passes by it."""
    for j in range(hidden.shape[0]):
        h = hidden[j]
        slope = (1.0 if h > 0.0 else 0.0) if relu else 1.0 - h * h
        gate[j] = grad_hidden[j] * slope
        grad_hidden[j] = 0.0


@register("lstm")
class LSTM(_Recurrent):
    gate_count = 4

    def build(self, in_shape: Shape) -> Shape:
        out_shape = super().build(in_shape)
        steps, size = in_shape[0], self.hidden_size
        self.scratch("cells", (steps + 1, size))
        self.scratch("recurrent", (4 * size,))
        self.scratch("delta_cell", (size,))
        self.workspace("biases", (4 * size,))
        return out_shape

    @staticmethod
    def forward(
        x, weight_ih, weight_hh, bias_ih, bias_hh, mask, reverse, return_sequences, inputs, gates, hidden, cells, recurrent,
        biases, out,
    ):  # fmt: skip
        rows, steps = x.shape[0], x.shape[1]
        size = weight_hh.shape[0]
        project(x, weight_ih, reverse, inputs, gates)
        a = gates.reshape((steps, rows, 4 * size))
        h, c = hidden.reshape((steps + 1, rows, size)), cells.reshape((steps + 1, rows, size))
        h[0] = 0.0
        c[0] = 0.0
        biases[:] = 0.0
        if bias_ih.shape[0] > 0:
            add(bias_ih, biases)
            add(bias_hh, biases)
        for s in range(steps):
            multiply(h[s], weight_hh, recurrent, s)
            t = moment(s, steps, reverse)
            for n in range(rows):
                if is_padding(mask, n, t):
                    assign(h[s, n], h[s + 1, n])
                    assign(c[s, n], c[s + 1, n])
                else:
                    lstm_step(a[s, n], recurrent[n], biases, c[s, n], c[s + 1, n], h[s + 1, n])
        give(h, mask, reverse, return_sequences, out)

    @staticmethod
    def backward(
        weight_hh, mask, reverse, return_sequences, inputs, gates, hidden, cells, delta, delta_cell, product, weight_t,
        grad_out, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        rows, steps, features = inputs.shape
        size = weight_hh.shape[0]
        a, c = gates.reshape((steps, rows, 4 * size)), cells.reshape((steps + 1, rows, size))
        transpose(weight_hh, weight_t)
        given = grad_out.reshape((rows, steps if return_sequences else 1, size))
        delta[:] = 0.0
        if not return_sequences:
            for n in range(rows):
                assign(given[n, 0], delta[n])
        delta_cell[:] = 0.0
        grad_bias_ih[:] = 0.0
        for s in range(steps - 1, -1, -1):
            t = moment(s, steps, reverse)
            if return_sequences:
                receive(given, mask, t, delta)
            for n in range(rows):
                if is_padding(mask, n, t):
                    a[s, n] = 0.0
                else:
                    lstm_step_back(a[s, n], c[s, n], c[s + 1, n], delta[n], delta_cell[n])
            step_back(a[s], weight_t, product, delta, grad_bias_ih)
        taken = gates.reshape((steps * rows, 4 * size))
        np.dot(inputs.reshape((steps * rows, features)).T, taken, grad_weight_ih)
        before = hidden.reshape(((steps + 1) * rows, size))[: steps * rows]
        np.dot(before.T, taken, grad_weight_hh)
        assign(grad_bias_ih, grad_bias_hh)


def lstm_step(gates, recurrent, biases, cell, next_cell, hidden):
    """One row, one step; gates become i, f, g and o."""
    size = cell.shape[0]
    activate_sigmoid(gates[: 2 * size], recurrent[: 2 * size], biases[: 2 * size])
    activate_tanh(gates[2 * size : 3 * size], recurrent[2 * size : 3 * size], biases[2 * size : 3 * size])
    activate_sigmoid(gates[3 * size :], recurrent[3 * size :], biases[3 * size :])
    i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    for j in range(size):
        next_cell[j] = f[j] * cell[j] + i[j] * g[j]
    for j in range(size):
        hidden[j] = o[j] * tanh(next_cell[j])


def activate_sigmoid(gates, recurrent, biases):
    for j in range(gates.shape[0]):
        gates[j] = sigmoid(gates[j] + recurrent[j] + biases[j])


def activate_tanh(gates, recurrent, biases):
    for j in range(gates.shape[0]):
        gates[j] = tanh(gates[j] + recurrent[j] + biases[j])


def lstm_step_back(gates, cell, next_cell, grad_hidden, grad_cell):
    """Gates = their gradients before sigmoid and tanh; the state passes by them in the cell only."""
    size = cell.shape[0]
    i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    for j in range(size):
        squashed = tanh(next_cell[j])
        grad = grad_hidden[j] * o[j]
        grad_cell[j] += grad * (1.0 - squashed * squashed)
        o[j] = grad * squashed * (1.0 - o[j])
        grad_hidden[j] = 0.0
    for j in range(size):
        grad, gate = grad_cell[j] * i[j], g[j]
        g[j] = grad * (1.0 - gate * gate)
        i[j] = grad * gate * (1.0 - i[j])
    for j in range(size):
        grad = grad_cell[j] * f[j]
        f[j] = grad * cell[j] * (1.0 - f[j])
        grad_cell[j] = grad
