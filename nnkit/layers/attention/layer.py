"""What the layers of attention have in common: heads, what they must not see, and their positions."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.errors import ShapeError
from nnkit.kernels.gemm import ACROSS, STRIP
from nnkit.layers.attention.heads import LINE

__all__ = ["Attention"]

UNSEEN = -1e30  # the score of a step that is not to be seen: exp gives 0


class Attention(Layer):
    """What the layers have in common: heads, what they must not see, and their positions."""

    elsewhere = ("embed_dim", "num_heads", "dropout", "bias", "add_bias_kv", "add_zero_attn", "kdim", "vdim", "batch_first")

    def __init__(
        self,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
        attn_mask: Any = None,
        rotary: float | None = None,
    ) -> None:
        self.num_heads = num_heads
        self.dropout = dropout
        self.bias = bias
        self.causal = causal
        self.attn_mask = attn_mask
        self.rotary = rotary
        self.require_size("num_heads")
        self.require_number("dropout", 0.0, 1.0, below=True)
        if attn_mask is not None:
            given = np.asarray(attn_mask)
            fits = given.dtype.kind in "bif" and given.ndim in (2, 3) and (given.ndim == 2 or len(given) == num_heads)
            self.require("attn_mask", fits, "truth values or numbers of shape (queries, keys), or (num_heads, queries, keys)")
            self.require("attn_mask", not np.any(given != given) and not np.any(given == np.inf), "without NaN and infinity")
        if rotary is not None:
            self.require_number("rotary", 0.0, above=True)

    def declare_heads(self, steps: int, others: int, width: int) -> None:
        """What heads of so many features in all need, for so many queries and keys."""
        if width % self.num_heads:
            raise ShapeError(f"{self!r}: expected a number of features that {self.num_heads} heads divide, got {width}")
        self.size = size = width // self.num_heads
        self.scale = 1 / sqrt(size)
        self.threshold = int(self.dropout * 2**32)  # of 32-bit numbers, so many are below
        self.padded = padded = -(-steps // LINE) * LINE
        self.scores = self._scores(steps, others)
        self.turns = self._turns(max(steps, others))
        features = -(-size // LINE) * LINE
        self.scratch("attention", (self.num_heads * padded, others))  # P of every head
        self.scratch("context", (steps, width))
        # Of one head, filled up with zeros to whole cache lines: Q, K, V and C or dC; their gradients; one of them transposed.
        rows = max(padded, others)
        self.workspace("head", (4, rows, features))
        self.workspace("d_head", (3, rows, features))
        self.workspace("turned", (features, rows))
        self.workspace("ds", (others, LINE))
        self.workspace("dropped", (others if self.dropout else 0, LINE))
        self.workspace("strip", (STRIP, ACROSS))

    def _scores(self, steps: int, others: int) -> NDArray[Any] | None:
        """What is added to the scores: [head, key, query], one head standing for all of them, with queries in whole lines."""
        if self.attn_mask is None:
            return None
        given = np.asarray(self.attn_mask)
        if given.shape[-2:] != (steps, others):
            raise ShapeError(f"{self!r}: expected an attn_mask for {steps} queries and {others} keys, got shape {given.shape}")
        added = np.where(given, -np.inf, 0.0) if given.dtype.kind == "b" else given.astype(np.float64)
        scores = np.zeros((*added.shape[:-2], others, self.padded))
        scores[..., :steps] = added.swapaxes(-1, -2)
        return scores.reshape(-1, others, self.padded)

    def _turns(self, steps: int) -> NDArray[Any] | None:
        """Cosine and sine of the angles of a head's numbers j and j + d / 2 at every step: (2, steps, d / 2)."""
        if self.rotary is None:
            return None
        if self.size % 2:
            raise ShapeError(f"{self!r}: expected heads of an even number of features to be turned, got {self.size}")
        angles = np.arange(steps)[:, None] * float(self.rotary) ** (-np.arange(0, self.size, 2) / self.size)
        return np.stack([np.cos(angles), np.sin(angles)])

    def onnx_context(self, graph, q, k, v, steps, others, mask):
        """The heads side by side, of queries, keys and values in ONNX; ``mask`` is that of the keys."""
        heads, size = self.num_heads, self.size
        q, k, v = (graph.node("Reshape", part, [0, count, heads, size])
                   for part, count in ((q, steps), (k, others), (v, others)))  # fmt: skip
        if self.rotary is not None:
            q, k = self._onnx_turned(graph, q, steps), self._onnx_turned(graph, k, others)
        q, k, v = (graph.node("Transpose", part, perm=perm)
                   for part, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3])))  # fmt: skip
        scores = (q @ k) * self.scale
        seen = None if mask is None else graph.node("Unsqueeze", mask, [1, 2])
        hidden = ~np.tri(steps, others, dtype=bool) if self.causal else np.zeros((steps, others), bool)
        if self.scores is not None:
            added = self.scores[..., :steps].swapaxes(1, 2)
            hidden = hidden | np.isneginf(added)
            if np.any(finite := np.where(np.isneginf(added), 0.0, added)):
                scores = scores + finite.astype(graph.real)
        if hidden.any():
            seen = graph.constant(~hidden) if seen is None else seen & ~hidden
        if seen is None:
            p = graph.node("Softmax", scores, axis=-1)
        else:
            p = graph.node("Softmax", graph.node("Where", seen, scores, UNSEEN), axis=-1)
        if mask is not None or hidden.all(axis=-1).any():  # a step that sees none at all takes nothing
            p = graph.node("Where", seen, p, 0.0)
        return graph.node("Reshape", graph.node("Transpose", p @ v, perm=[0, 2, 1, 3]), [0, steps, heads * size])

    @staticmethod
    def read_heads(at):
        """From the queries to the softmax: the number of heads, and what is hidden or added; None where it is not so."""
        if (node := at.take("Reshape")) is None or len(node.integers(1)) != 4:
            return None
        if at.take("Mul") is not None:  # positions
            at.take("Add")
        at.take("Transpose")
        at.take("MatMul")
        at.take("Mul")
        add = at.take("Add")
        where = at.ahead("Where", place=1)
        added = None if add is None else add.constant(1)
        if where is None or not where.is_constant(0):
            return node.integers(1)[2], added
        hidden = ~where.constant(0)
        return node.integers(1)[2], hidden if added is None else np.where(hidden, -np.inf, added)

    def _onnx_turned(self, graph, part, steps):
        assert self.turns is not None
        first, second = graph.nodes(2, "Split", part, [self.size // 2] * 2, axis=3)
        cosines, sines = (np.tile(numbers[:steps, None], 2).astype(graph.real) for numbers in self.turns)
        return part * cosines + graph.node("Concat", -second, first, axis=3) * sines
