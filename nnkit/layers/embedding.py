"""Learnt vectors for whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import DataError, ShapeError
from nnkit.kernels.math import real

__all__ = ["Embedding", "EmbeddingBag"]


class _PaddedNormal(Initializer):
    """Normal with mean 0 and variance 1, but for the row of the padding, which is 0."""

    def __init__(self, padding_idx: int | None) -> None:
        self.padding_idx = padding_idx

    def __call__(self, shape: Shape, random: np.random.Generator) -> NDArray[np.float64]:
        weight = random.normal(size=shape)
        if self.padding_idx is not None:
            weight[self.padding_idx] = 0.0
        return weight


class _Table(Layer):
    """A learnt vector for each of some numbers."""

    elsewhere: ClassVar[tuple[str, ...]] = ("num_embeddings", "embedding_dim", "padding_idx")
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

    def declare_weight(self) -> None:
        """The vectors; ``padding`` is the number that stands for none, or -1."""
        self.input_limit = self.num_embeddings
        self.padding = -1 if self.padding_idx is None else self.padding_idx % self.num_embeddings
        self.parameter("weight", (self.num_embeddings, self.embedding_dim), init=_PaddedNormal(self.padding_idx))

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self.padding >= 0 and np.any(arrays["weight"][self.padding]):
            raise DataError(f"{self!r}: expected zeros in row {self.padding} of weight, the padding, got other numbers")
        return dict(arrays)


@register("embedding")
class Embedding(_Table):
    """A learnt vector for each of the numbers 0 to num_embeddings - 1: out[...] = weight[x[...]].

    The number ``padding_idx`` gives zeros instead. dL/dweight_i = sum of grad_out over all places where x is i, and 0 for
    ``padding_idx``. (PyTorch's ``max_norm``, which shortens vectors as they are looked up, is not here: only an optimizer
    changes parameters.)

    Parameters
    ----------
    num_embeddings : int >= 1, how many different numbers there are
    embedding_dim : int >= 1
    padding_idx : int, optional: the number that only fills a sequence up. Later layers see a mask of where it is, and where
        that reaches an output that has a loss for every step, padded steps weigh nothing in losses and metrics (for that, in
        PyTorch the loss takes an ``ignore_index``; both may be given). Negative ones count from the end.

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

    def build(self, in_shape: Shape) -> Shape:
        self.declare_weight()
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

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(6, 3), (2, 3), 0, 6), Example(cls(5, 2, padding_idx=1), (4,), 0, 5)]


@register("embedding_bag")
class EmbeddingBag(_Table):
    """One learnt vector for a bag of numbers: the sum, the mean or the maximum of the vectors that belong to them.

    - ``"sum"``: out_j = sum_t weight[x_t, j]; dL/dweight_i = sum of grad_out over all places where x is i.
    - ``"mean"``: that, divided by the count of the x_t; so is its gradient.
    - ``"max"``: out_j = max_t weight[x_t, j]; grad_out_j goes to the first of the largest.

    The number ``padding_idx`` is in no bag: bags may be of different sizes. An empty bag gives 0. Without the bag, `Embedding`
    gives a vector for each step.

    With ``per_sample_weights``, s, which are a second input, a sum is out_j = sum_t s_t weight[x_t, j]; dL/dweight_i = sum of
    s_t grad_out over all places t where x is i, and dL/ds_t = sum_j grad_out_j weight[x_t, j], or 0 for ``padding_idx``.

    Parameters
    ----------
    num_embeddings : int >= 1, how many different numbers there are
    embedding_dim : int >= 1
    mode : "sum", "mean" (default) or "max"
    padding_idx : int, optional: the number that only fills a row up. Negative ones count from the end.
    per_sample_weights : bool, whether there is a second input of weights; only where the mode is "sum"

    Shape
    -----
    x: (N, numbers) whole numbers, the model's input as it is -> out: (N, embedding_dim); weight: (num_embeddings,
    embedding_dim). With ``per_sample_weights``, x is called numbers, and the weights, which other layers may have computed, are
    per_sample_weights: (N, numbers).

    Raises
    ------
    ShapeError
        Rows have other axes than one of numbers, or not a weight for each number.
    DataError
        From fit, predict and the like: x holds numbers that are not whole, or none of 0 to num_embeddings - 1.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.EmbeddingBag(10, 3, mode="sum", padding_idx=0)]).build((4,), random_state=0)
    >>> words = nn.Sequential([nn.Embedding(10, 3, padding_idx=0)]).build((4,), random_state=0)
    >>> bool((model.predict([[7, 2, 0, 0]]) == words.predict([[7, 2, 0, 0]]).sum(axis=1)).all())
    True

    Weights that another part of the net computes:

    >>> bag = nn.EmbeddingBag(10, 3, mode="sum", per_sample_weights=True)
    >>> net = nn.Graph(shares=("scores", nn.Softmax()), out=(("words", "shares"), bag))
    >>> nn.Sequential([net]).build({"scores": (4,), "words": (4,)}).out_shape
    (3,)

    References
    ----------
    Joulin, Grave, Bojanowski and Mikolov 2017, "Bag of tricks for efficient text classification", section 2 (mean).
    """

    elsewhere = ("num_embeddings", "embedding_dim", "max_norm", "norm_type", "scale_grad_by_freq", "mode")
    modes: ClassVar[tuple[str, ...]] = ("sum", "mean", "max")

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, mode: str = "mean", padding_idx: int | None = None,
        per_sample_weights: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx=padding_idx)
        self.mode = mode
        self.per_sample_weights = per_sample_weights
        self.require("mode", mode in self.modes, "'sum', 'mean' or 'max'")
        self.require("mode", mode == "sum" or not per_sample_weights, "'sum', as there are per_sample_weights")

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("numbers", "per_sample_weights") if self.per_sample_weights else ()

    @property
    def input_dtype(self) -> str | dict[str, str]:  # type: ignore[override]
        return {"numbers": "int64", "per_sample_weights": "real"} if self.per_sample_weights else "int64"

    def build(self, in_shape: Any) -> Shape:
        numbers, *weights = fields(in_shape).values()
        if len(numbers) != 1:
            raise ShapeError(f"{self!r}: expected input rows of shape (numbers,), got rows of shape {numbers}")
        if weights not in ([], [numbers]):
            raise ShapeError(f"{self!r}: expected a weight for each number, {numbers}, got per_sample_weights {weights[0]}")
        self.declare_weight()
        self.largest, self.average = self.mode == "max", self.mode == "mean"
        # Where the mode is "max": the numbers whose vectors are the largest.
        self.scratch("chosen", (self.embedding_dim if self.largest else 0,), dtype="int64")
        return (self.embedding_dim,)

    def work(self, in_shape: Any, out_shape: Shape, parameters: int) -> int:
        return int(next(iter(fields(in_shape).values()))[0]) * out_shape[0]

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return {stage: getattr(_Weighted, stage) if self.per_sample_weights else kernel
                for stage, kernel in super().kernels().items()}  # fmt: skip

    def c(self) -> str:
        if self.per_sample_weights:
            return """
            void forward(const int64_t numbers[T], const real per_sample_weights[T], const real weight[V][D], real out[D])
            {
                int outside = 0;
                for (int t = 0; t < T; t++)
                    outside |= numbers[t] < 0 || numbers[t] >= V;
                for (int d = 0; d < D; d++) {
                    out[d] = outside ? NAN : 0.0;
                    for (int t = 0; t < T && !outside; t++)
                        if (numbers[t] != padding)
                            out[d] += per_sample_weights[t] * weight[numbers[t]][d];
                }
            }"""
        return """
            void forward(const int64_t x[T], const real weight[V][D], real out[D])
            {
                int count = 0, outside = 0;
                for (int t = 0; t < T; t++) {
                    outside |= x[t] < 0 || x[t] >= V;
                    count += x[t] != padding;
                }
                for (int d = 0; d < D; d++) {
                    real total = 0.0, top = 0.0;
                    int seen = 0;
                    for (int t = 0; t < T && !outside; t++)
                        if (x[t] != padding) {
                            total += weight[x[t]][d];
                            top = !seen++ || weight[x[t]][d] > top ? weight[x[t]][d] : top;
                        }
                    out[d] = outside ? NAN : largest ? top : average && count ? total / count : total;
                }
            }"""

    @staticmethod
    def forward(x, weight, padding, largest, average, chosen, out):
        for n in range(x.shape[0]):
            numbers, row, count = x[n], out[n], 0
            row[:] = 0.0
            for t in range(numbers.shape[0]):
                number = numbers[t]
                if number == padding:
                    continue
                vector = weight[number]
                count += 1
                if not largest:
                    for j in range(row.shape[0]):
                        row[j] += vector[j]
                else:
                    best = chosen[n]
                    for j in range(row.shape[0]):
                        if count == 1 or vector[j] > row[j]:
                            row[j] = vector[j]
                            best[j] = number
            if largest and count == 0:
                chosen[n] = -1
            if average and count > 1:
                factor = 1.0 / real(count)
                for j in range(row.shape[0]):
                    row[j] *= factor

    @staticmethod
    def backward(x, padding, largest, average, chosen, grad_out, grad_weight):
        grad_weight[:] = 0.0
        for n in range(x.shape[0]):
            numbers, grad = x[n], grad_out[n]
            if largest:
                for j in range(grad.shape[0]):
                    if chosen[n, j] >= 0:
                        grad_weight[chosen[n, j], j] += grad[j]
                continue
            count = 0
            for t in range(numbers.shape[0]):
                count += numbers[t] != padding
            factor = 1.0 / real(max(count, 1)) if average else 1.0
            for t in range(numbers.shape[0]):
                if numbers[t] != padding:
                    target = grad_weight[numbers[t]]
                    for j in range(grad.shape[0]):
                        target[j] += factor * grad[j]

    def onnx(self, graph, x):
        if self.per_sample_weights:
            x, weights = fields(x).values()
            if self.padding_idx is not None:
                weights = graph.node("Where", x != np.int64(self.padding), weights, 0.0)
            vectors = graph.node("Gather", graph.array("weight"), x, axis=0)
            return graph.node("ReduceSum", vectors * graph.node("Unsqueeze", weights, [2]), [1], keepdims=0)
        vectors = graph.node("Gather", graph.array("weight"), x, axis=0)
        if self.padding_idx is None:
            reduce = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}[self.mode]
            return graph.node(reduce, vectors, [1], keepdims=0)
        there = x != np.int64(self.padding)
        one = graph.node("Unsqueeze", there, [2])
        count = graph.node("ReduceSum", graph.node("Where", there, 1.0, 0.0), [1], keepdims=1)
        if self.largest:
            top = graph.node("ReduceMax", graph.node("Where", one, vectors, -np.inf), [1], keepdims=0)
            return graph.node("Where", count > 0.0, top, 0.0)
        total = graph.node("ReduceSum", graph.node("Where", one, vectors, 0.0), [1], keepdims=0)
        return total / graph.node("Max", count, 1.0) if self.average else total

    @classmethod
    def from_onnx(cls, at):
        """Gather, and the vectors of a row reduced; a number that x is compared with is the padding."""
        node, compared = at.ahead("Gather", place=1), at.ahead("Equal")
        if at.rank != 1 or node is None or not node.is_constant(0) or node.constant(0).ndim != 2:
            return None
        weight = node.constant(0)
        padding = [int(compared.constant(1))] if compared is not None and compared.is_constant(1) else []
        bags = (cls(*weight.shape, mode=mode, padding_idx=number) for number in (*padding, None) for mode in cls.modes)
        return at.like(bags, weight=weight)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(6, 3), (4,), 0, 6),
            Example(cls(5, 2, mode="sum", padding_idx=1), (3,), 0, 5),
            Example(cls(4, 2, mode="max", padding_idx=-1), (2,), 0, 4),
        ]


class _Weighted:
    """The kernels of a bag of weighted vectors."""

    @staticmethod
    def forward(numbers, per_sample_weights, weight, padding, out):
        for n in range(numbers.shape[0]):
            row = out[n]
            row[:] = 0.0
            for t in range(numbers.shape[1]):
                if numbers[n, t] != padding:
                    vector, share = weight[numbers[n, t]], per_sample_weights[n, t]
                    for j in range(row.shape[0]):
                        row[j] += share * vector[j]

    @staticmethod
    def backward(numbers, per_sample_weights, weight, padding, grad_out, grad_weight, grad_per_sample_weights):
        grad_weight[:] = 0.0
        for n in range(numbers.shape[0]):
            grad = grad_out[n]
            for t in range(numbers.shape[1]):
                number, share, total = numbers[n, t], per_sample_weights[n, t], 0.0
                if number != padding:
                    vector, target = weight[number], grad_weight[number]
                    for j in range(grad.shape[0]):
                        target[j] += share * grad[j]
                        total += grad[j] * vector[j]
                grad_per_sample_weights[n, t] = total
