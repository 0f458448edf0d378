"""Learnt vectors for whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import DataError

__all__ = ["Embedding"]


class _PaddedNormal(Initializer):
    """Normal with mean 0 and variance 1, but for the row of the padding, which is 0."""

    def __init__(self, padding_idx: int | None) -> None:
        self.padding_idx = padding_idx

    def __call__(self, shape: Shape, random: np.random.Generator) -> NDArray[np.float64]:
        weight = random.normal(size=shape)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0.0
        return weight


@register("embedding")
class Embedding(Layer):
    """A learnt vector for each of the numbers 0 to num_embeddings - 1: out[...] = weight[x[...]].

    The number ``padding_idx`` gives zeros instead. dL/dweight_i = sum of grad_out over all places where x is i, and 0 for
    ``padding_idx``.

    Parameters
    ----------
    num_embeddings : int >= 1, how many different numbers there are
    embedding_dim : int >= 1
    padding_idx : int, optional: the number that only fills a sequence up. Later layers see a mask of where it is. Negative
        ones count from the end.

    Shape
    -----
    x: (N, ...) whole numbers -> out: (N, ..., embedding_dim); weight: (num_embeddings, embedding_dim). First layer only.

    Raises
    ------
    DataError
        From fit, predict and the like: x holds numbers that are not whole, or none of 0 to num_embeddings - 1.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Embedding(10, 3, padding_idx=0)]).build((4,), random_state=0)
    >>> out = model.predict([[7, 2, 7, 0]])[0]
    >>> bool((out[0] == out[2]).all()), out[3]
    (True, array([0., 0., 0.], dtype=float32))

    References
    ----------
    Bengio, Ducharme, Vincent and Jauvin 2003, "A neural probabilistic language model", section 2.
    """

    elsewhere = ("num_embeddings", "embedding_dim", "padding_idx")
    input_dtype = "int64"

    def __init__(self, num_embeddings: int, embedding_dim: int, *, padding_idx: int | None = None) -> None:
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.require_size("num_embeddings")
        self.require_size("embedding_dim")
        if padding_idx is not None:
            self.require_size("padding_idx", -num_embeddings)
            self.require("padding_idx", padding_idx < num_embeddings, f"below num_embeddings={num_embeddings}")

    def build(self, in_shape: Shape) -> Shape:
        self.input_limit = self.num_embeddings
        self.padding = -1 if self.padding_idx is None else self.padding_idx % self.num_embeddings
        init = _PaddedNormal(self.padding_idx)
        self.parameter("weight", (self.num_embeddings, self.embedding_dim), init=init)
        if self.padding_idx is not None and len(in_shape) == 1:
            self.scratch("mask", in_shape, dtype="uint8")
        return (*in_shape, self.embedding_dim)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return int(np.prod(out_shape))

    def c(self) -> str:
        return """
            void forward(const int64_t x[T], const real weight[V][D], real out[T][D])
            {
                for (int t = 0; t < T; t++)
                    for (int d = 0; d < D; d++)
                        out[t][d] = x[t] < 0 || x[t] >= V ? NAN : x[t] == padding ? 0.0 : weight[x[t]][d];
            }"""

    @staticmethod
    def forward(x, weight, padding, mask, out):
        width = weight.shape[1]
        numbers, rows = x.reshape(-1), out.reshape(-1)
        for i in range(numbers.shape[0]):
            source, target = weight[numbers[i]], rows[i * width : (i + 1) * width]
            share = 0.0 if numbers[i] == padding else 1.0
            for j in range(width):
                target[j] = share * source[j]
        for n in range(x.shape[0]):
            for t in range(mask.shape[1]):
                mask[n, t] = numbers[n * mask.shape[1] + t] != padding

    @staticmethod
    def backward(x, padding, grad_out, grad_weight):
        width = grad_weight.shape[1]
        numbers, rows = x.reshape(-1), grad_out.reshape(-1)
        grad_weight[:] = 0.0
        for i in range(numbers.shape[0]):
            if numbers[i] != padding:
                target, source = grad_weight[numbers[i]], rows[i * width : (i + 1) * width]
                for j in range(width):
                    target[j] += source[j]

    def onnx(self, graph, x):
        weight = graph.array("weight")
        if self.padding_idx is not None:
            zeroed = weight.array.copy()
            zeroed[self.padding] = 0.0
            weight = graph.constant(zeroed, "weight without padding")
            if len(self._built.in_shape) == 1:
                graph.mask = x != np.int64(self.padding)
                graph.kept.append(graph.mask)  # it tells what the padding is, to who reads it and trains on
        return graph.node("Gather", weight, x, axis=0)

    @classmethod
    def from_onnx(cls, at):
        """Gather; a number that somebody compares x with is the padding."""
        node, compared = at.ahead("Gather", place=1), at.ahead("Equal")
        if node is None or node.constant(0).ndim != 2:
            return None
        weight = node.constant(0)
        count, width = weight.shape
        padding = [int(compared.constant(1))] if compared is not None and compared.is_constant(1) else []
        return at.like((cls(count, width, padding_idx=number) for number in (*padding, None)), weight=weight)

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self.padding >= 0 and np.any(arrays["weight"][self.padding]):
            raise DataError(f"{self!r}: expected zeros in row {self.padding} of weight, the padding, got other numbers")
        return dict(arrays)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(6, 3), (2, 3), 0, 6), Example(cls(5, 2, padding_idx=1), (4,), 0, 5)]
