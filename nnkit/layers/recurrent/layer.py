"""What recurrent layers have in common: stacks, directions, and everything but the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Chain
from nnkit.core.layer import Built, Layer, Places
from nnkit.core.part import Example, Shape
from nnkit.engine.lazy import lazy
from nnkit.errors import OnnxError, ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import ACROSS, STRIP, dot_transposed
from nnkit.layers.dropout import Dropout
from nnkit.layers.graph import Branches
from nnkit.layers.recurrent.stack import read_stack
from nnkit.layers.recurrent.steps import assign, mirrored

__all__ = ["Recurrent", "operator_gates"]

DEEPEST = 1000  # layers of a stack: every one is made and placed, and a slip of the pen shall not take all memory


class Recurrent(Layer):
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
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = False,
        bias: bool = True,
        reverse: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.return_sequences = return_sequences
        self.bias = bias
        self.reverse = reverse
        self.require_size("hidden_size")
        self.require_size("num_layers")
        self.require("num_layers", num_layers <= DEEPEST, f"at most {DEEPEST}")
        self.require_number("dropout", 0.0, 1.0, below=True)
        self.require("reverse", not (reverse and bidirectional), "False where bidirectional is True")

    @lazy
    def _stack(self) -> Chain:
        """The cells, made when they are first placed: whoever uses the layer twice shares them. Dropout stands between."""
        first, *more = (cells[0] if len(cells) == 1 else Branches(*cells, dim=-1) for cells in self.cells())
        between = [Dropout(self.dropout)] if self.dropout else []
        return Chain([first, *(item for layer in more for item in (*between, layer))])

    @property
    def state_size(self) -> int:
        """How many numbers the state has that the next step, and who comes behind, gets to see."""
        return self.hidden_size

    def cells(self) -> list[list[Self]]:
        """The layers that this one is made of, each in one direction or two; only the last may give its last state alone."""
        if self.num_layers == 1 and not self.bidirectional:
            return [[self]]
        directions = (False, True) if self.bidirectional else (self.reverse,)
        return [
            [
                self.replace(num_layers=1, dropout=0.0, bidirectional=False, reverse=reverse,
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
        size, width = self.state_size, self.gate_count * self.hidden_size
        init = self.init()
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

    def init(self) -> Uniform:
        """How all parameters begin."""
        return Uniform(-1 / sqrt(self.hidden_size), 1 / sqrt(self.hidden_size))

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
        gates = operator_gates(graph, type(self), self.hidden_size, self.bias, self.onnx_recurrence(graph))
        lengths = None
        if graph.mask is not None:  # take the steps that are no padding first, in their order
            present = graph.mask.astype("float32")
            lengths = graph.node("ReduceSum", graph.mask.astype("int32"), [1], keepdims=0)
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

    def onnx_recurrence(self, graph):
        """What the operator's state is multiplied with."""
        return graph.array("weight_hh").array

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
        layer, arrays = cls.read_operator(node)
        if len(arrays) == 1:
            for return_sequences in (True, False):
                found = at.like([layer.replace(return_sequences=return_sequences)], **arrays[0])
                if found is not None:
                    return found
        return read_stack(cls, at)

    @classmethod
    def read_operator(cls, node):
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

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Names are weight_ih_l0, weight_ih_l0_reverse, ...; a stack is one module, its arrays in the order of the cells."""
        return {name.partition("_l")[0]: array.T for name, array in arrays.items()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (3, 2)), Example(cls(2, return_sequences=True, bias=False, reverse=True), (4, 3))]


def operator_gates(graph, kind, size, bias, weight_hh):
    """An operator's W, R and B: (1, gates, ...), in the order of the operator's gates, for a layer of a ``kind``."""
    count = kind.gate_count

    def laid_out(array):
        return array.T.reshape(count, size, -1)[list(kind.gate_order)].reshape(1, count * size, -1)

    given = {"weight_ih": graph.array("weight_ih").array, "weight_hh": weight_hh}
    weights = [graph.constant(laid_out(array), name) for name, array in given.items()]
    if not bias:
        return [*weights, None]
    biases = np.concatenate([laid_out(graph.array(name).array).reshape(1, -1) for name in ("bias_ih", "bias_hh")], axis=1)
    return [*weights, graph.constant(biases, "bias")]
