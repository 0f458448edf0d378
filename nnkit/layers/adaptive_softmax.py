"""A softmax over very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Container, Placed, V, Wiring
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.kernels.math import exp, log
from nnkit.layers.graph import Branches
from nnkit.layers.linear import Linear

__all__ = ["AdaptiveLogSoftmaxWithLoss", "ClusterLogSoftmax"]


def _increase(numbers: Any, low: int, high: float = np.inf) -> bool:
    """Whether these are whole numbers, each greater than the one before, between two others."""
    whole = isinstance(numbers, list | tuple | np.ndarray) and all(isinstance(item, int | np.integer) for item in numbers)
    return whole and len(numbers) > 0 and all(one < next_ for one, next_ in pairwise((low, *numbers, high)))


@register("cluster_log_softmax")
class ClusterLogSoftmax(Layer):
    """Log-probabilities of all classes, from scores of frequent classes, of C clusters, and of the classes in each cluster.

    What `AdaptiveLogSoftmaxWithLoss` ends with. Of a row x, the first scores are those of frequent classes and of clusters; the
    logarithm of their softmax is h. Then come the scores of the classes of each cluster; the logarithm of their softmax is q.
    out_k = h_k for a frequent class, and h_(c) + q_k for a class of cluster c.

    With G_c the sum of grad_out over cluster c and G that of all: grad_x = grad_out - exp(h) G for a frequent class,
    G_c - exp(h) G for a cluster, and grad_out - exp(q) G_c for a class of it.

    Parameters
    ----------
    ends : increasing class numbers: where the frequent classes end, and then each of the clusters

    Shape
    -----
    x: (N, ..., ends[-1] + C) -> out: (N, ..., ends[-1])

    Raises
    ------
    ShapeError
        Rows have another number of scores.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.ClusterLogSoftmax([1, 3])]).build((4,))
    >>> np.exp(model.predict(np.log([[1.0, 3.0, 1.0, 1.0]]))).round(4).tolist()  # one of four; and three of four, in halves
    [[0.25, 0.375, 0.375]]
    """

    folds_rows = True
    gives = Span(-np.inf, 0.0, "exponentials")

    def __init__(self, ends: Sequence[int]) -> None:
        self.ends = ends
        self.require("ends", _increase(ends, 0) and len(ends) > 1, "two or more increasing whole numbers from 1 on")

    def build(self, in_shape: Shape) -> Shape:
        scores = self.ends[-1] + len(self.ends) - 1
        if in_shape[-1:] != (scores,):
            raise ShapeError(f"{self!r}: expected input rows of {scores} scores, got {in_shape}")
        return (*in_shape[:-1], int(self.ends[-1]))

    @property
    def limits(self) -> NDArray[np.int64]:
        """The ends as kernels get them: one kernel for any number of clusters."""
        return np.array(self.ends, np.int64)

    @staticmethod
    def forward(x, limits, out):
        clusters, frequent = limits.shape[0] - 1, limits[0]
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            top, total = a[0], 0.0
            for k in range(frequent + clusters):
                top = max(top, a[k])
            for k in range(frequent + clusters):
                total += exp(a[k] - top)
            shift = log(total)
            for k in range(frequent):
                b[k] = a[k] - top - shift
            for c in range(clusters):
                own = a[frequent + c] - top - shift
                scores, logs = a[clusters + limits[c] : clusters + limits[c + 1]], b[limits[c] : limits[c + 1]]
                high, rest = scores[0], 0.0
                for k in range(scores.shape[0]):
                    high = max(high, scores[k])
                for k in range(scores.shape[0]):
                    rest += exp(scores[k] - high)
                within = log(rest)
                for k in range(scores.shape[0]):
                    logs[k] = scores[k] - high - within + own

    @staticmethod
    def backward(out, limits, grad_out, grad_x):
        clusters, frequent = limits.shape[0] - 1, limits[0]
        for n in range(out.shape[0]):
            s, d, g = out[n], grad_out[n], grad_x[n]
            total = 0.0
            for k in range(s.shape[0]):
                total += d[k]
            for k in range(frequent):
                g[k] = d[k] - exp(s[k]) * total
            for c in range(clusters):
                logs, slopes = s[limits[c] : limits[c + 1]], d[limits[c] : limits[c + 1]]
                grads = g[clusters + limits[c] : clusters + limits[c + 1]]
                high, rest, inner = logs[0], 0.0, 0.0
                for k in range(logs.shape[0]):
                    high = max(high, logs[k])
                for k in range(logs.shape[0]):
                    rest += exp(logs[k] - high)
                    inner += slopes[k]
                for k in range(logs.shape[0]):
                    grads[k] = slopes[k] - exp(logs[k] - high) / rest * inner
                g[frequent + c] = inner - exp(high) * rest * total


    def c(self) -> str:
        return f"""
            void forward(const real x[J], real out[K])
            {{
                const int clusters = {len(self.ends) - 1};
                real top = x[0], total = 0.0;
                for (int k = 0; k < ends[0] + clusters; k++)
                    if (x[k] > top)
                        top = x[k];
                for (int k = 0; k < ends[0] + clusters; k++)
                    total += exp(x[k] - top);
                for (int k = 0; k < ends[0]; k++)
                    out[k] = x[k] - top - log(total);
                for (int c = 0; c < clusters; c++) {{
                    const real own = x[ends[0] + c] - top - log(total);
                    real high = x[clusters + ends[c]], rest = 0.0;
                    for (int k = ends[c]; k < ends[c + 1]; k++)
                        if (x[clusters + k] > high)
                            high = x[clusters + k];
                    for (int k = ends[c]; k < ends[c + 1]; k++)
                        rest += exp(x[clusters + k] - high);
                    for (int k = ends[c]; k < ends[c + 1]; k++)
                        out[k] = x[clusters + k] - high - log(rest) + own;
                }}
            }}"""

    def onnx(self, graph, x):
        first, *sizes = (high - low for low, high in pairwise((0, *map(int, self.ends))))
        axis, count = len(self._built.in_shape), len(sizes)
        head, *tails = graph.nodes(count + 1, "Split", x, [first + count, *sizes], axis=axis)
        shared = graph.node("LogSoftmax", head, axis=axis)
        frequent, *clusters = graph.nodes(count + 1, "Split", shared, [first, *[1] * count], axis=axis)
        within = [graph.node("LogSoftmax", tail, axis=axis) + own for tail, own in zip(tails, clusters, strict=True)]
        return graph.node("Concat", frequent, *within, axis=axis)

    @classmethod
    def from_onnx(cls, at):
        """Split into the scores of each softmax, whose sizes say where the classes end."""
        node = at.ahead("Split")
        if node is None or not node.is_constant(1) or node.attributes["axis"] not in (-1, at.rank):
            return None
        first, *sizes = node.integers(1)
        ends = list(accumulate([first - len(sizes), *sizes]))
        return at.like([cls(ends)]) if sizes and _increase(ends, 0) else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls([2, 3, 6]), (8,)), Example(cls([1, 4]), (2, 5))]


@register("adaptive_log_softmax_with_loss")
class AdaptiveLogSoftmaxWithLoss(Container):
    """Log-probabilities of very many classes from few parameters: the rarer a class, the fewer numbers it is scored by.

    Classes are numbered by their frequency. Those below the first cutoff c_1 are scored by a dense layer, which also scores the
    clusters between cutoffs; cluster i has scores of its own, from F // d**i numbers that a dense layer makes of the F of the
    input. With both made probabilities by a softmax: log p_k = log h_k for a frequent class, and log h_(i) + log q_k for one of
    cluster i. Back: grad of a score is grad_out minus its probability times the sum of grad_out over what it competes for.

    The loss of it is `NLLLoss`, and its prediction the greatest: this layer ends a net, as ``LogSoftmax()`` does. By itself
    PyTorch's gives the mean of `NLLLoss`, and by its ``log_prob`` what this layer gives.

    Parameters
    ----------
    n_classes : int
    cutoffs : increasing class numbers from 1 to n_classes - 1
    div_value : float >= 1, d
    head_bias : bool, whether the scores of frequent classes and clusters have a bias

    Shape
    -----
    x: (N, ..., F) -> out: (N, ..., n_classes)

    Raises
    ------
    ShapeError
        The input is too narrow for the last cluster: F // d**i is 0.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.AdaptiveLogSoftmaxWithLoss(1000, [20, 200])]).build((64,), random_state=0)
    >>> round(float(np.exp(model.predict(np.ones((1, 64)))).sum()), 4)
    1.0
    >>> sum(array.size for array in model.parameters().values()), 64 * 1000
    (8768, 64000)

    References
    ----------
    Grave, Joulin, Cisse, Grangier and Jegou 2017, "Efficient softmax approximation for GPUs".
    """

    gives = Span(-np.inf, 0.0, "exponentials")
    elsewhere = ("in_features", "n_classes", "cutoffs", "div_value", "head_bias")

    def __init__(
        self, n_classes: int, cutoffs: Sequence[int], *, div_value: float = 4.0, head_bias: bool = False
    ) -> None:
        self.n_classes = n_classes
        self.cutoffs = cutoffs
        self.div_value = div_value
        self.head_bias = head_bias
        self.require_size("n_classes", 2)
        self.require_number("div_value", 1.0)
        self.require("cutoffs", _increase(cutoffs, 0, n_classes), f"increasing whole numbers from 1 to {n_classes - 1}")

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows with features, (N, features)")
        ends = [*map(int, self.cutoffs), int(self.n_classes)]
        head = Linear(ends[0] + len(ends) - 1, bias=self.head_bias)
        widths = [int(in_shape[-1] // self.div_value**place) for place in range(1, len(ends))]
        if widths[-1] < 1:
            raise ShapeError(f"{self!r}: expected at least {self.div_value ** len(widths):g} features, so that cluster "
                             f"{len(widths)} has one, got {in_shape[-1]}")  # fmt: skip
        tails = [[Linear(width, bias=False), Linear(high - low, bias=False)]
                 for width, (low, high) in zip(widths, pairwise(ends), strict=True)]  # fmt: skip
        scores = self.within(Branches(head, *tails, dim=-1), in_shape).out_shape
        self.within(ClusterLogSoftmax(ends), scores, 1)
        return (*in_shape[:-1], ends[-1])

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        scores, logarithms = children
        return plan.forward(logarithms, plan.forward(scores, x))

    def onnx(self, graph, x):
        scores, logarithms = self._built.children
        return graph.layer(logarithms, graph.layer(scores, x))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(6, [2, 3], div_value=2.0), (4,)), Example(cls(5, [3], head_bias=True), (2, 4))]
