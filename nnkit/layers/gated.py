"""Gated linear units: one half of the numbers says how much of the other half passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.math import sigmoid

__all__ = ["GLU", "SwiGLU"]


class _Gated(Layer):
    """Halves an axis. ``half``: so many neighbouring numbers are of the first half, as many of the second, and so on."""

    flat = True
    c_gate: ClassVar[str]  # what becomes of the halves, of x[a] and x[b]
    onnx_gate: Callable[..., Any]  # the same, of two values

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim
        self.require_axis("dim")

    def build(self, in_shape: Shape) -> Shape:
        axis = self.axis_of_row(self.dim, in_shape)
        if in_shape[axis] % 2:
            raise ShapeError(f"{self!r}: expected an even number to halve in axis {self.dim}, got rows of {in_shape}")
        self.half = prod(in_shape[axis:]) // 2
        self.passes_mask = axis > 0
        return (*in_shape[:axis], in_shape[axis] // 2, *in_shape[axis + 1 :])

    def c(self) -> str:
        return f"""
            void forward(const real x[N], real out[M])
            {{
                for (int i = 0; i < M; i++) {{
                    const int a = i / half * half + i, b = a + half;
                    out[i] = {self.c_gate};
                }}
            }}"""

    def onnx(self, graph, x):
        shape = self._built.in_shape
        axis = self.axis_of_row(self.dim, shape)
        return self.onnx_gate(graph, *graph.nodes(2, "Split", x, [shape[axis] // 2] * 2, axis=axis + 1))

    @classmethod
    def from_onnx(cls, at):
        """Split, which need not say the sizes of two halves, and the gate."""
        if (node := at.ahead("Split")) is None:
            return None
        part = cls(at.dim(node.attributes["axis"]))
        number = {"num_outputs": 2} if "num_outputs" in node.attributes else {}
        axis = node.attributes["axis"]
        return at.like([part]) or at.like(
            [part], lambda layer, graph, x: layer.onnx_gate(graph, *graph.nodes(2, "Split", x, axis=axis, **number))
        )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (6,)), Example(cls(1), (4, 3))]


@register("glu")
class GLU(_Gated):
    """out = a sigmoid(b), where a and b are the first and the second half of x along an axis.

    With s = sigmoid(b): grad_a = grad_out s, grad_b = grad_out a s (1 - s).

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end

    Shape
    -----
    x: (N, ..., 2 D, ...) -> out: (N, ..., D, ...)

    Raises
    ------
    ShapeError
        There is no such axis, or its size is odd.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.GLU()]).build((4,)).predict([[3.0, 4.0, 0.0, 100.0]])
    array([[1.5, 4. ]], dtype=float32)

    References
    ----------
    Dauphin, Fan, Auli and Grangier 2017, "Language modeling with gated convolutional networks", eq. 1.
    """

    c_gate = "x[a] * sigmoid(x[b])"

    @staticmethod
    def forward(x, half, out):
        for i in range(out.shape[0] // half):
            a, b = x[2 * i * half : (2 * i + 1) * half], x[(2 * i + 1) * half : (2 * i + 2) * half]
            row = out[i * half : (i + 1) * half]
            for j in range(half):
                row[j] = a[j] * sigmoid(b[j])

    @staticmethod
    def backward(x, half, grad_out, grad_x):
        for i in range(grad_out.shape[0] // half):
            a, b = x[2 * i * half : (2 * i + 1) * half], x[(2 * i + 1) * half : (2 * i + 2) * half]
            grad_a, grad_b = grad_x[2 * i * half : (2 * i + 1) * half], grad_x[(2 * i + 1) * half : (2 * i + 2) * half]
            d = grad_out[i * half : (i + 1) * half]
            for j in range(half):
                s = sigmoid(b[j])
                grad_a[j] = d[j] * s
                grad_b[j] = d[j] * a[j] * s * (1.0 - s)

    def onnx_gate(self, graph, a, b):
        return a * graph.node("Sigmoid", b)


@register("swiglu")
class SwiGLU(_Gated):
    """out = silu(a) b, where a and b are the first and the second half of x along an axis, and silu(a) = a sigmoid(a).

    The gate is the first half, as in the paper's swish(x W) * (x V), and as nets that keep W and V in one matrix have it; in
    `GLU` it is the second.

    With s = sigmoid(a): grad_a = grad_out b s (1 + a (1 - s)), grad_b = grad_out a s.

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end

    Shape
    -----
    x: (N, ..., 2 D, ...) -> out: (N, ..., D, ...)

    Raises
    ------
    ShapeError
        There is no such axis, or its size is odd.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.SwiGLU()]).build((4,)).predict([[100.0, 0.0, 3.0, 4.0]])
    array([[300.,   0.]], dtype=float32)

    References
    ----------
    Shazeer 2020, "GLU variants improve Transformer", eq. 5.
    """

    c_gate = "x[a] * sigmoid(x[a]) * x[b]"

    @staticmethod
    def forward(x, half, out):
        for i in range(out.shape[0] // half):
            a, b = x[2 * i * half : (2 * i + 1) * half], x[(2 * i + 1) * half : (2 * i + 2) * half]
            row = out[i * half : (i + 1) * half]
            for j in range(half):
                row[j] = a[j] * sigmoid(a[j]) * b[j]

    @staticmethod
    def backward(x, half, grad_out, grad_x):
        for i in range(grad_out.shape[0] // half):
            a, b = x[2 * i * half : (2 * i + 1) * half], x[(2 * i + 1) * half : (2 * i + 2) * half]
            grad_a, grad_b = grad_x[2 * i * half : (2 * i + 1) * half], grad_x[(2 * i + 1) * half : (2 * i + 2) * half]
            d = grad_out[i * half : (i + 1) * half]
            for j in range(half):
                s = sigmoid(a[j])
                grad_a[j] = d[j] * b[j] * s * (1.0 + a[j] * (1.0 - s))
                grad_b[j] = d[j] * a[j] * s

    def onnx_gate(self, graph, a, b):
        return a * graph.node("Sigmoid", a) * b
