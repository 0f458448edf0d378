"""Recurrent layers: a state that every step of a sequence changes.

All of them work alike. The product of the inputs of all steps with ``weight_ih`` is one matrix product. Then each step
multiplies the state before it with ``weight_hh`` and goes through the gates, the only thing in which the layers differ.
Backward takes the steps the other way round; the weights' gradients are again one matrix product over all steps.

Working arrays have the steps first, in the order in which they are taken (``reverse``: the last one first), so that what a
step needs of all rows is one contiguous matrix. A padded step leaves the state as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Chain
from nnkit.core.layer import Built, Layer, Places
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.engine.lazy import lazy
from nnkit.errors import OnnxError, ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import ACROSS, STRIP, dot_transposed, multiply, transpose
from nnkit.kernels.math import sigmoid, tanh
from nnkit.layers.containers import Branches

ONNX_FLOAT, ONNX_INT32 = 1, 6  # types by their numbers in onnx.TensorProto

__all__ = ["GRU", "LSTM", "RNN", "Masking"]


# ------------------------------------------------------------------------------------------- what the kernels share


def is_padding(mask, n, t):
    """Whether step t of row n is padding; where there is no mask, none is."""
    return mask.shape[1] > 0 and mask[n, t] == 0


def mirrored(step, steps, reverse):
    """Where in the sequence the step is that is taken as number ``step``, or the other way round."""
    return steps - 1 - step if reverse else step


def assign(source, target):
    """Target = source, one row of numbers."""
    for j in range(target.shape[0]):
        target[j] = source[j]


def add(source, target):
    """Target += source, one row of numbers; a source of size zero is absent."""
    for j in range(source.shape[0]):
        target[j] += source[j]


def activate(gate, product, bias, signed):
    """Gate = tanh (where it is to be signed) or sigmoid of gate + product + bias."""
    if signed:
        for j in range(gate.shape[0]):
            gate[j] = tanh(gate[j] + product[j] + bias[j])
    else:
        for j in range(gate.shape[0]):
            gate[j] = sigmoid(gate[j] + product[j] + bias[j])


def project(x, weight_ih, reverse, inputs, gates):
    """Inputs are x with the steps first, in the order in which they are taken; gates = inputs @ weight_ih."""
    rows, steps = x.shape[0], x.shape[1]
    for s in range(steps):
        for n in range(rows):
            assign(x[n, mirrored(s, steps, reverse)], inputs[s * rows + n])
    multiply(inputs, weight_ih, gates, True)


def give(hidden, mask, reverse, return_sequences, out):
    """Out are the last states, one or all, each in its step's place in the sequence; 0 where it is padding."""
    outs = out.shape[1]
    first = hidden.shape[0] - outs
    for n in range(out.shape[0]):
        for k in range(outs):
            if return_sequences and is_padding(mask, n, k):
                out[n, k] = 0.0
            else:
                assign(hidden[first + mirrored(k, outs, reverse), n], out[n, k])


def receive(grad_out, mask, reverse, return_sequences, later, delta):
    """Add to delta, the gradient of a state, that of the output that is this state; ``later`` is how many steps follow."""
    outs = grad_out.shape[1]
    if later < outs:
        k = mirrored(outs - 1 - later, outs, reverse)
        for n in range(delta.shape[0]):
            if not (return_sequences and is_padding(mask, n, k)):
                add(grad_out[n, k], delta[n])


def go_back(grad_gates, weight_t, product, delta):
    """Add to delta what comes to the state before a step through its gates."""
    multiply(grad_gates, weight_t, product, True)
    for n in range(delta.shape[0]):
        add(product[n], delta[n])


def add_rows(rows, total):
    """Total += the sum of all rows; a total of size zero is absent."""
    if total.shape[0] > 0:
        for n in range(rows.shape[0]):
            add(rows[n], total)


# ------------------------------------------------------------------------------------------------------------ layers

DEEPEST = 1000  # layers of a stack: every one is made and placed, and a slip of the pen shall not take all memory


class _Recurrent(Layer):
    """What the layers have in common: stacks, directions, and everything but the gates."""

    gate_count: ClassVar[int]
    operator: ClassVar[str]  # its name in ONNX
    gate_order: ClassVar[tuple[int, ...]]  # ONNX's gates in ours
    elsewhere = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
    onnx_activations: ClassVar[tuple[str, ...]]  # of ONNX's operator, in one direction

    def __init__(
        self,
        hidden_size: int = 1,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
        reverse: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.return_sequences = return_sequences
        self.bias = bias
        self.reverse = reverse
        self.require_size("hidden_size")
        self.require_size("num_layers")
        self.require("num_layers", num_layers <= DEEPEST, f"at most {DEEPEST}")
        self.require("reverse", not (reverse and bidirectional), "False where bidirectional is True")

    @lazy
    def _stack(self) -> Chain:
        """The cells, made when they are first placed: whoever uses the layer twice shares them."""
        return Chain([cells[0] if len(cells) == 1 else Branches(*cells, dim=-1) for cells in self.cells()])

    def cells(self) -> list[list[Self]]:
        """The layers that this one is made of, each in one direction or two; only the last may give its last state alone."""
        if self.num_layers == 1 and not self.bidirectional:
            return [[self]]
        directions = (False, True) if self.bidirectional else (self.reverse,)
        return [
            [
                self.replace(num_layers=1, bidirectional=False, reverse=reverse,
                             return_sequences=self.return_sequences or layer < self.num_layers - 1)
                for reverse in directions
            ]
            for layer in range(self.num_layers)
        ]  # fmt: skip

    def place(self, in_shape: Shape, known: Places | None = None) -> Built:
        """One layer in one direction is built as itself, more are a chain of such."""
        if self.num_layers == 1 and not self.bidirectional:
            return super().place(in_shape, known)
        return self._stack.place(in_shape, known)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 2:
            raise ShapeError(f"{self!r}: expected input rows (steps, features), got rows of shape {in_shape}")
        steps, features = in_shape
        size, width = self.hidden_size, self.gate_count * self.hidden_size
        init = Uniform(-1 / sqrt(size), 1 / sqrt(size))
        self.parameter("weight_ih", (features, width), init)
        self.parameter("weight_hh", (size, width), init)
        self.parameter("bias_ih", (width if self.bias else 0,), init)
        self.parameter("bias_hh", (width if self.bias else 0,), init)
        self.scratch("inputs", (steps, features))
        self.scratch("gates", (steps, width))
        self.scratch("hidden", (steps + 1, size))  # the states before the first step and after each
        self.scratch("delta", (size,))  # the gradient of the state
        self.scratch("passed", (size,))  # the part of it that comes through the gates of the step that follows
        self.workspace("weight_t", (width, size))
        self.workspace("strip", (min(STRIP, width), ACROSS))
        self.view(out=(steps if self.return_sequences else 1, size))
        self.passes_mask = self.return_sequences
        return (steps, size) if self.return_sequences else (size,)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return in_shape[0] * parameters

    @staticmethod
    def backward_x(weight_ih, reverse, grad_inputs, grad_gates, strip, grad_x):
        rows, steps, features = grad_x.shape
        taken = grad_inputs.reshape((steps * rows, features))
        dot_transposed(grad_gates.reshape((steps * rows, weight_ih.shape[1])), weight_ih, strip, taken)
        for n in range(rows):
            for t in range(steps):
                assign(taken[mirrored(t, steps, reverse) * rows + n], grad_x[n, t])

    def onnx(self, graph, x):
        steps = self._built.in_shape[0]
        gates = self._onnx_gates(graph)
        lengths = None
        if graph.mask is not None:  # take the steps that are no padding first, in their order
            present = graph.node("Cast", graph.mask, to=ONNX_FLOAT)
            lengths = graph.node("ReduceSum", graph.node("Cast", graph.mask, to=ONNX_INT32), [1], keepdims=0)
            order = graph.nodes(2, "TopK", present, [steps], axis=1)[1]
            place = graph.nodes(2, "TopK", order, [steps], axis=1, largest=0)[1]
            x = self._onnx_taken(graph, x, order, self._built.in_shape[1])
        taken = graph.node("Transpose", x, perm=[1, 0, 2])
        direction = "reverse" if self.reverse else "forward"
        states, last = graph.nodes(2, self.operator, taken, *gates, lengths, hidden_size=self.hidden_size, direction=direction,
                                   **self.onnx_attributes())  # fmt: skip
        if not self.return_sequences:
            return graph.node("Squeeze", last, [0])
        out = graph.node("Transpose", graph.node("Squeeze", states, [1]), perm=[1, 0, 2])
        return out if lengths is None else self._onnx_taken(graph, out, place, self.hidden_size)

    def onnx_attributes(self) -> dict[str, Any]:
        """What its operator has to know beside the sizes."""
        return {}

    def _onnx_gates(self, graph):
        """The operator's W, R and B: (1, gates, ...), in the order of the operator's gates."""
        count, size = self.gate_count, self.hidden_size

        def laid_out(name):
            array = graph.array(name).array
            return array.T.reshape(count, size, -1)[list(self.gate_order)].reshape(1, count * size, -1)

        weights = [graph.constant(laid_out(name), name) for name in ("weight_ih", "weight_hh")]
        if not self.bias:
            return [*weights, None]
        biases = np.concatenate([laid_out(name).reshape(1, -1) for name in ("bias_ih", "bias_hh")], axis=1)
        return [*weights, graph.constant(biases, "bias")]

    @staticmethod
    def _onnx_taken(graph, x, order, width):
        """The steps of every row in another order."""
        index = graph.node("Expand", graph.node("Unsqueeze", order, [2]), [1, 1, width])
        return graph.node("GatherElements", x, index, axis=1)

    @classmethod
    def from_onnx(cls, at):
        """One layer in one direction, as it is written here; or several one after the other, as others write them."""
        own = at.copy()
        own.take("GatherElements")
        node = own.take(cls.operator) if own.take("Transpose") else None
        if node is None:
            return None
        layer, arrays = cls._read(node)
        if len(arrays) == 1:
            for return_sequences in (True, False):
                found = at.like([layer.replace(return_sequences=return_sequences)], **arrays[0])
                if found is not None:
                    return found
        return cls._stacked(at)

    @classmethod
    def _read(cls, node):
        """A layer with its arrays, for each direction, from its operator."""
        count, size = cls.gate_count, node.attributes.get("hidden_size") or node.constant(2).shape[-1]
        back = np.argsort(cls.gate_order)

        def laid_out(array):
            return array.reshape(count, size, -1)[back].reshape(count * size, -1).T

        directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[node.attributes["direction"]]
        arrays = []
        for place in range(len(directions)):
            own = {"weight_ih": laid_out(node.constant(1)[place]), "weight_hh": laid_out(node.constant(2)[place])}
            if node.input(3) is not None:
                biases = node.constant(3)[place].reshape(2, -1)
                own |= {name: laid_out(bias)[0] for name, bias in zip(("bias_ih", "bias_hh"), biases, strict=True)}
            arrays.append(own)
        both = len(directions) == 2
        layer = cls(size, bidirectional=both, bias=node.input(3) is not None, reverse=directions == [True])
        return layer.replace(**cls.from_onnx_attributes(node, len(directions))), arrays

    @classmethod
    def from_onnx_attributes(cls, node, directions):
        """The hyper-parameters that only some of the layers have."""
        usual = [*cls.onnx_activations] * directions
        given = node.attributes.get("activations") or usual
        if [name.lower() for name in given] != [name.lower() for name in usual]:
            raise OnnxError(f"expected activations {usual}, got {given}")
        return {}

    @classmethod
    def _stacked(cls, at):
        """Layers on sequences (steps, N, features), from a Transpose to another, or to the last state."""
        if at.take("Transpose").attributes["perm"] != [1, 0, 2]:
            return None
        layers, records, nodes = [], [], []
        while (node := at.ahead(cls.operator)) is not None:
            layer, arrays = cls._read(node)
            for place in range(5, len(node.inputs)):
                if node.input(place) is not None and np.any(node.constant(place)):
                    raise OnnxError("expected states that begin with 0, and no peepholes, got others")
            layers.append(layer)
            records += arrays
            nodes.append(node)
            states = at.copy().after(node)
            if (moved := states.take("Transpose")) and moved.attributes["perm"] == [0, 2, 1, 3]:
                joined = states.take("Reshape")
                width = layer.hidden_size * len(arrays)
                going_on = joined is not None and joined.integers(1) in (
                    [steps, 0, features] for steps in (0, at.shape[0]) for features in (-1, width)
                )
            else:
                squeezed = None if layer.bidirectional else states.take("Squeeze")
                going_on = squeezed is not None and squeezed.integers(1) == [1]
            at.after(node)
            if not going_on:
                break
            at = states
        if not going_on and len(nodes[-1].outputs) < 2:
            raise OnnxError(f"expected all states of {nodes[-1].name!r}, or the last, got something else of them")
        first = layers[0]
        if any(repr(layer) != repr(first) for layer in layers):
            return None
        whole = first.replace(num_layers=len(layers))
        if going_on:
            last = at.take("Transpose")
            if last is None or last.attributes["perm"] != [1, 0, 2]:
                return None
            step = at.copy()
            chosen = step.take("Gather")
            if chosen is None or chosen.attributes["axis"] != 1 or first.reverse or first.bidirectional:
                return at.found(whole.replace(return_sequences=True), *records)
            return step.found(whole, *records) if chosen.constant(1).tolist() in (-1, [-1]) else None
        if first.bidirectional:
            return None
        at.after(nodes[-1], 1)
        stack = at.take("Concat", place=len(layers) - 1)
        if stack is not None and (
            stack.attributes["axis"] != 0 or list(map(id, stack.inputs)) != [id(node.outputs[1]) for node in nodes]
        ):
            return None
        chosen = at.take("Gather") or at.take("Squeeze")
        fits = chosen is not None and np.ravel(chosen.constant(1)).tolist() in ([-1], [0] if len(layers) == 1 else [-1])
        return at.found(whole, *records) if fits and chosen.attributes.get("axis", 0) == 0 else None

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Names are weight_ih_l0, weight_ih_l0_reverse, ...; a stack is one module, its arrays in the order of the cells."""
        return {name.partition("_l")[0]: array.T for name, array in arrays.items()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (3, 2)), Example(cls(2, return_sequences=True, bias=False, reverse=True), (4, 3))]


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
class LSTM(_Recurrent):
    """Long short-term memory: a cell c that gates write to, keep and read.

    With s the sigmoid, every step t of the sequence takes x_t, h_(t-1) and c_(t-1), which begin as 0, to

    - a = x_t @ weight_ih + bias_ih + h_(t-1) @ weight_hh + bias_hh, cut into a_i, a_f, a_g and a_o,
    - i = s(a_i), f = s(a_f), g = tanh(a_g), o = s(a_o),
    - c_t = f c_(t-1) + i g, h_t = o tanh(c_t).

    Backward, from the last step to the first, dL/dh_t being grad_out's part and what comes from step t + 1:

    - dL/dc_t = dL/dc_(t+1) f_(t+1) + dL/dh_t o (1 - tanh(c_t)**2),
    - dL/da = (dL/dc_t g i (1 - i), dL/dc_t c_(t-1) f (1 - f), dL/dc_t i (1 - g**2), dL/dh_t tanh(c_t) o (1 - o)),
    - dL/dh_(t-1) = dL/da @ weight_hh.T, grad_x_t = dL/da @ weight_ih.T,
    - grad_weight_ih = sum_t x_t.T @ dL/da, grad_weight_hh = sum_t h_(t-1).T @ dL/da, both biases' gradient = sum_t dL/da.

    Where there is a mask (`Masking`), a padded step leaves the state as it was, and its output is 0.

    Parameters
    ----------
    hidden_size : int >= 1
    num_layers : int from 1 to 1000; each further layer takes the states of the one before as its input
    bidirectional : also take the steps from the last to the first, with parameters of their own, and concatenate
    return_sequences : give the states of all steps, or (default) the last one that each direction comes to
    bias : bool, default True
    reverse : take the steps from the last to the first; out stays in the sequence's order

    Stacks and two directions are chains of layers in one direction, and their parameters are named by the place there, such as
    ``"0.1.0.weight_ih"``. All parameters begin uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)], as PyTorch's.

    Shape
    -----
    x: (N, steps, features) -> out: (N, hidden), or (N, steps, hidden) with return_sequences, where hidden is hidden_size times
    the number of directions; weight_ih: (features, 4 hidden_size), weight_hh: (hidden_size, 4 hidden_size), gates in the order
    i, f, g, o; bias_ih, bias_hh: (4 hidden_size,).

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

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory"; Gers, Schmidhuber and Cummins 2000, "Learning to forget:
    continual prediction with LSTM" (f).
    """

    gives = Span(-1.0, 1.0)
    gate_count = 4
    operator = "LSTM"
    gate_order = (0, 3, 1, 2)  # i, o, f, g
    onnx_activations = ("Sigmoid", "Tanh", "Tanh")

    def build(self, in_shape: Shape) -> Shape:
        out_shape = super().build(in_shape)
        size = self.hidden_size
        self.scratch("cells", (in_shape[0] + 1, size))
        self.scratch("product", (4 * size,))
        self.scratch("delta_cell", (size,))
        self.workspace("biases", (4 * size,))
        return out_shape

    @staticmethod
    def forward(
        x, weight_ih, weight_hh, bias_ih, bias_hh, mask, reverse, return_sequences, inputs, gates, hidden, cells, product,
        biases, out,
    ):  # fmt: skip
        rows, steps, features = x.shape
        size = weight_hh.shape[0]
        h, c = hidden.reshape((steps + 1, rows, size)), cells.reshape((steps + 1, rows, size))
        a, p, b = gates.reshape((steps, rows, 4, size)), product.reshape((rows, 4, size)), biases.reshape((4, size))
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
                    assign(h[s, n], h[s + 1, n])
                    assign(c[s, n], c[s + 1, n])
                else:
                    lstm_step(a[s, n], p[n], b, c[s, n], c[s + 1, n], h[s + 1, n])
        give(h, mask, reverse, return_sequences, out)

    @staticmethod
    def backward(
        weight_hh, mask, reverse, return_sequences, inputs, gates, hidden, cells, delta, delta_cell, passed, weight_t,
        grad_out, grad_gates, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh,
    ):  # fmt: skip
        rows, steps, features = inputs.shape
        size = weight_hh.shape[0]
        a, c = grad_gates.reshape((steps, rows, 4, size)), cells.reshape((steps + 1, rows, size))
        before, now = gates.reshape((steps, rows, 4 * size)), grad_gates.reshape((steps, rows, 4 * size))
        transpose(weight_hh, weight_t)
        delta[:] = 0.0
        delta_cell[:] = 0.0
        grad_bias_ih[:] = 0.0
        for s in range(steps - 1, -1, -1):
            receive(grad_out, mask, reverse, return_sequences, steps - 1 - s, delta)
            for n in range(rows):
                if is_padding(mask, n, mirrored(s, steps, reverse)):
                    a[s, n] = 0.0
                else:
                    assign(before[s, n], now[s, n])
                    lstm_step_back(a[s, n], c[s, n], c[s + 1, n], delta[n], delta_cell[n])
            add_rows(now[s], grad_bias_ih)
            go_back(now[s], weight_t, passed, delta)
        taken = grad_gates.reshape((steps * rows, 4 * size))
        multiply(inputs.reshape((steps * rows, features)).T, taken, grad_weight_ih, True)
        multiply(hidden.reshape(((steps + 1) * rows, size))[: steps * rows].T, taken, grad_weight_hh, True)
        assign(grad_bias_ih, grad_bias_hh)


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
class GRU(_Recurrent):
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

    Parameters
    ----------
    hidden_size : int >= 1
    num_layers : int from 1 to 1000; each further layer takes the states of the one before as its input
    bidirectional : also take the steps from the last to the first, with parameters of their own, and concatenate
    return_sequences : give the states of all steps, or (default) the last one that each direction comes to
    bias : bool, default True
    reverse : take the steps from the last to the first; out stays in the sequence's order

    Stacks and two directions are chains of layers in one direction, and their parameters are named by the place there, such as
    ``"0.1.0.weight_ih"``. All parameters begin uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)], as PyTorch's.

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
class RNN(_Recurrent):
    """The simple recurrent net: h_t = f(x_t @ weight_ih + bias_ih + h_(t-1) @ weight_hh + bias_hh), h_0 = 0.

    Backward, from the last step to the first, with delta = dL/dh_t f', where f' = 1 - h_t**2 for tanh and [h_t > 0] for relu:

    - dL/dh_(t-1) = delta @ weight_hh.T, grad_x_t = delta @ weight_ih.T,
    - grad_weight_ih = sum_t x_t.T @ delta, grad_weight_hh = sum_t h_(t-1).T @ delta, both biases' gradient = sum_t delta.

    Where there is a mask (`Masking`), a padded step leaves the state as it was, and its output is 0.

    Parameters
    ----------
    hidden_size : int >= 1
    num_layers : int from 1 to 1000; each further layer takes the states of the one before as its input
    nonlinearity : "tanh" or "relu"
    bidirectional : also take the steps from the last to the first, with parameters of their own, and concatenate
    return_sequences : give the states of all steps, or (default) the last one that each direction comes to
    bias : bool, default True
    reverse : take the steps from the last to the first; out stays in the sequence's order

    Stacks and two directions are chains of layers in one direction, and their parameters are named by the place there, such as
    ``"0.1.0.weight_ih"``. All parameters begin uniform in [-1/sqrt(hidden_size), 1/sqrt(hidden_size)], as PyTorch's.

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
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
        reverse: bool = False,
    ) -> None:
        self.nonlinearity = nonlinearity
        self.require("nonlinearity", nonlinearity in self.nonlinearities, "'tanh' or 'relu'")
        super().__init__(
            hidden_size, num_layers=num_layers, bidirectional=bidirectional, return_sequences=return_sequences, bias=bias,
            reverse=reverse,
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


@register("masking")
class Masking(Layer):
    """Say which steps of a sequence are padding: those all of whose features are ``value``. The sequence passes unchanged.

    mask[n, t] = any_f(x[n, t, f] != value), and out = x; grad_x = grad_out. Layers behind it take the mask into account as far
    as they know about steps: recurrent layers leave their state as it is at a padded step.

    Parameters
    ----------
    value : float, what padding is filled with

    Shape
    -----
    x: (N, steps, features) -> out: the same

    Raises
    ------
    ShapeError
        The input is no sequence of features.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.Masking(), nn.GRU(3)]).build((4, 2), random_state=0)
    >>> short = np.array([[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    >>> alone = nn.Sequential([nn.GRU(3)]).build((2, 2), random_state=0)
    >>> bool(np.allclose(model.predict(short), alone.predict(short[:, :2])))
    True
    """

    inplace = passes_mask = True

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.require_number("value")

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 2:
            raise ShapeError(f"{self!r}: expected input rows (steps, features), got rows of shape {in_shape}")
        self.scratch("mask", in_shape[:1], dtype="uint8")
        return in_shape

    @staticmethod
    def forward(x, value, mask, out):
        for n in range(x.shape[0]):
            for t in range(x.shape[1]):
                mask[n, t] = 0
                for f in range(x.shape[2]):
                    if x[n, t, f] != value:
                        mask[n, t] = 1
                    out[n, t, f] = x[n, t, f]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for t in range(grad_x.shape[1]):
                assign(grad_out[n, t], grad_x[n, t])

    def onnx(self, graph, x):
        graph.mask = graph.node("ReduceMax", abs(x - self.value), [2], keepdims=0) != 0.0
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 2))]
