"""The gated recurrent unit."""

from __future__ import annotations

from nnkit.core.part import Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import OnnxError
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

__all__ = ["GRU"]


def gru_step(gates, product, biases, hidden, next_hidden):
    """One row, one step: gates become r, z and n; product[2] becomes what r is a gate for."""
    for k in range(2):
        activate(gates[k], product[k], biases[k], False)
    r, z, n, gated, bias, gated_bias = gates[0], gates[1], gates[2], product[2], biases[2], biases[3]
    for j in range(hidden.shape[0]):
        gated[j] += gated_bias[j]
        n[j] = tanh(n[j] + bias[j] + r[j] * gated[j])
    for j in range(hidden.shape[0]):
        next_hidden[j] = n[j] + z[j] * (hidden[j] - n[j])


def gru_step_back(gates, product, hidden, delta):
    """One row, one step: gates and product become their gradients; z times delta passes by them."""
    size, r, z, n, gated = hidden.shape[0], gates[0], gates[1], gates[2], product[2]
    for j in range(size):
        update, candidate, grad = z[j], n[j], delta[j]
        z[j] = grad * (hidden[j] - candidate) * update * (1.0 - update)
        n[j] = grad * (1.0 - update) * (1.0 - candidate * candidate)
        delta[j] = grad * update
    for j in range(size):
        reset, grad = r[j], n[j]
        r[j] = grad * gated[j] * reset * (1.0 - reset)
        gated[j] = grad * reset
    for k in range(2):
        assign(gates[k], product[k])


@register("gru")
class GRU(Recurrent):
    """Gated recurrent unit: a state of which a gate z keeps a part.

    With s the sigmoid, p = x_t @ weight_ih + bias_ih and q = h_(t-1) @ weight_hh + bias_hh, each cut in three, step t is

    - r = s(p_r + q_r), z = s(p_z + q_z), n = tanh(p_n + r q_n),
    - h_t = (1 - z) n + z h_(t-1); h_0 = 0.

    Backward, from the last step to the first, d being dL/dh_t:

    - dL/dp_n = d (1 - z) (1 - n**2), dL/dq_n = dL/dp_n r,
    - dL/dp_r = dL/dq_r = dL/dp_n q_n r (1 - r), dL/dp_z = dL/dq_z = d (h_(t-1) - n) z (1 - z),
    - dL/dh_(t-1) = d z + dL/dq @ weight_hh.T, grad_x_t = dL/dp @ weight_ih.T,
    - grad_weight_ih = sum_t x_t.T @ dL/dp, grad_weight_hh = sum_t h_(t-1).T @ dL/dq; those of the biases are the sums of
      dL/dp and dL/dq.

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

    Shape
    -----
    x: (N, steps, features) -> out: (N, hidden), or (N, steps, hidden) with return_sequences, where hidden is hidden_size times
    the number of directions; weight_ih: (features, 3 hidden_size), weight_hh: (hidden_size, 3 hidden_size), gates in the order
    r, z, n; bias_ih, bias_hh: (3 hidden_size,).

    Raises
    ------
    ShapeError
        The input is no sequence of features.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.GRU(8)]).build((28, 4)).out_shape
    (8,)
    >>> nn.Sequential([nn.GRU(8, bidirectional=True, return_sequences=True)]).build((28, 4)).out_shape
    (28, 16)
    >>> model = nn.Sequential([nn.GRU(2, bidirectional=True)]).build((3, 2), random_state=0)
    >>> model.predict([[[1.0, 0.5], [-2.0, 3.0], [0.0, 1.0]]]).round(3)
    array([[ 0.588, -0.035, -0.658,  0.431]], dtype=float32)
    >>> model = nn.Sequential([nn.Masking(), nn.GRU(2, return_sequences=True)]).build((2, 1))
    >>> model.predict([[[0.0], [3.0]]])[0, 0]  # of a padded step
    array([0., 0.], dtype=float32)

    References
    ----------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine translation"; r after
    the product with weight_hh, as cuDNN and PyTorch have it.
    """

    gives = Span(-1.0, 1.0)
    gate_count = 3
    operator = "GRU"
    gate_order = (1, 0, 2)  # z, r, n
    onnx_activations = ("Sigmoid", "Tanh")

    def build(self, in_shape: Shape) -> Shape:
        out_shape = super().build(in_shape)
        self.scratch("products", (in_shape[0], 3 * self.hidden_size))
        self.workspace("biases", (4 * self.hidden_size,))
        return out_shape

    @staticmethod
    def forward(
        x, weight_ih, weight_hh, bias_ih, bias_hh, mask, reverse, return_sequences, inputs, gates, hidden, products, biases,
        out,
    ):  # fmt: skip
        rows, steps, features = x.shape
        size = weight_hh.shape[0]
        h, multiplied = hidden.reshape((steps + 1, rows, size)), products.reshape((steps, rows, 3 * size))
        a, p, b = gates.reshape((steps, rows, 3, size)), products.reshape((steps, rows, 3, size)), biases.reshape((4, size))
        project(x, weight_ih, reverse, inputs.reshape((steps * rows, features)), gates.reshape((steps * rows, 3 * size)))
        biases[:] = 0.0
        add(bias_ih, biases)
        for j in range(bias_hh.shape[0]):
            biases[j if j < 2 * size else size + j] += bias_hh[j]
        h[0] = 0.0
        for s in range(steps):
            multiply(h[s], weight_hh, multiplied[s], True)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    assign(h[s, n], h[s + 1, n])
                else:
                    gru_step(a[s, n], p[s, n], b, h[s, n], h[s + 1, n])
        give(h, mask, reverse, return_sequences, out)

    @staticmethod
    def backward(
        weight_hh, mask, reverse, return_sequences, inputs, gates, hidden, products, delta, passed, weight_t,
        grad_out, grad_gates, grad_products, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        rows, steps, features = inputs.shape
        size = weight_hh.shape[0]
        a, p = grad_gates.reshape((steps, rows, 3, size)), grad_products.reshape((steps, rows, 3, size))
        now, multiplied = grad_gates.reshape((steps, rows, 3 * size)), grad_products.reshape((steps, rows, 3 * size))
        gates_then, products_then = gates.reshape((steps, rows, 3 * size)), products.reshape((steps, rows, 3 * size))
        h = hidden.reshape((steps + 1, rows, size))
        transpose(weight_hh, weight_t)
        delta[:] = 0.0
        grad_bias_ih[:] = 0.0
        grad_bias_hh[:] = 0.0
        for s in range(steps - 1, -1, -1):
            receive(grad_out, mask, reverse, return_sequences, steps - 1 - s, delta)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    a[s, n] = 0.0
                    p[s, n] = 0.0
                else:
                    assign(gates_then[s, n], now[s, n])
                    assign(products_then[s, n], multiplied[s, n])
                    gru_step_back(a[s, n], p[s, n], h[s, n], delta[n])
            add_rows(now[s], grad_bias_ih)
            add_rows(multiplied[s], grad_bias_hh)
            go_back(multiplied[s], weight_t, passed, delta)
        before = hidden.reshape(((steps + 1) * rows, size))[: steps * rows]
        multiply(inputs.reshape((steps * rows, features)).T, grad_gates.reshape((steps * rows, 3 * size)), grad_weight_ih, True)
        multiply(before.T, grad_products.reshape((steps * rows, 3 * size)), grad_weight_hh, True)

    def onnx_attributes(self):
        return {"linear_before_reset": 1}  # r behind the product with weight_hh

    @classmethod
    def from_onnx_attributes(cls, node, directions):
        if not node.flag("linear_before_reset"):
            raise OnnxError("expected linear_before_reset=1, got 0")
        return super().from_onnx_attributes(node, directions)
