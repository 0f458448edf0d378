"""Attention of a sequence to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.kernels.gemm import add_bias, dot, dot_transposed, sum_rows
from nnkit.layers.attention.heads import attend, attend_back, require_sequence
from nnkit.layers.attention.layer import Attention

__all__ = ["MultiHeadAttention"]


@register("multi_head_attention")
class MultiHeadAttention(Attention):
    r"""Self-attention: every step of a sequence looks at all steps, and takes from each as much as it finds fitting.

    With x a row (steps, features), and W, b the parts of in_proj: Q = x W_q + b_q, K = x W_k + b_k, V = x W_v + b_v. Each is
    cut into ``num_heads`` heads of d = features / num_heads columns. For every head,

        S = Q K.T / sqrt(d),  P = softmax of S over the keys,  C = P V;

    the heads' C side by side, times out_proj_weight, plus out_proj_bias, are the output. With ``causal``, a step sees itself
    and those before it; steps where ``mask`` is 0 are seen by nobody; ``attn_mask`` is added to S. A step that sees none at all
    gets C = 0. In training, each number of P becomes 0 with probability ``dropout``, and the others are scaled up.

    With ``rotary``, the numbers a = q_j and b = q_(j + d/2) of each query at step t, and of each key, are turned before by the
    angle w = t rotary**(-2 j / d): to a cos w - b sin w and b cos w + a sin w. So S knows how far two steps are apart, and
    nothing else of where they stand.

    Backward, with dC = grad_out @ out_proj_weight.T cut into heads:

    - dV = P.T dC, dP = dC V.T, where P was dropped to 0 also dP = 0,
    - dS_ij = P_ij (dP_ij - sum_k P_ik dP_ik),
    - dQ = dS K / sqrt(d), dK = dS.T Q / sqrt(d);
    - x, in_proj and out_proj follow as in `Linear`.

    Parameters
    ----------
    num_heads : int >= 1, divides the number of features
    dropout : float in [0, 1), probability of a zero in P
    bias : bool, default True
    causal : bool, default False
    attn_mask : array (steps, steps) or (num_heads, steps, steps), optional: numbers that are added to S, or truth values, where
        True hides the key of a column from the query of a row
    rotary : float > 0, optional: the base of rotary positions, such as 10000.0; the paper's pairs are neighbours, these are
        half a head apart, as GPT-NeoX and Llama have them

    Shape
    -----
    x: (N, steps, features) -> out: (N, steps, features); in_proj_weight: (features, 3 features), the columns of Q, then of K,
    then of V; in_proj_bias: (3 features,); out_proj_weight: (features, features); out_proj_bias: (features,).

    Raises
    ------
    ShapeError
        The input is no sequence, ``num_heads`` does not divide its features, ``attn_mask`` is for other steps, or heads with
        ``rotary`` have an odd number of features.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.MultiHeadAttention(2, causal=True)]).build((3, 4), random_state=0)
    >>> X = np.ones((1, 3, 4))
    >>> a = model.predict(X)
    >>> X[0, 2] = 5.0  # the last step: those before it do not see it
    >>> (model.predict(X) == a).all(axis=2)
    array([[ True,  True, False]])
    >>> model.predict([[[1.0, 0.0, 2.0, -1.0], [0.0, 1.0, -1.0, 3.0], [2.0, 1.0, 0.0, 1.0]]]).round(3)
    array([[[ 0.597,  0.102, -0.011, -0.474],
            [ 0.522, -0.523, -0.243,  0.013],
            [ 0.551, -0.638, -0.284, -0.03 ]]], dtype=float32)
    >>> mean = nn.Sequential([nn.MultiHeadAttention(1, causal=True, bias=False)]).build((20, 1))
    >>> mean.parameters()["0.in_proj_weight"][:] = 0.0, 0.0, 1.0  # no step fits better than another
    >>> mean.parameters()["0.out_proj_weight"][:] = 1.0
    >>> mean.predict(np.arange(20.0).reshape(1, 20, 1))[0, 16:].round(3).ravel()  # of the steps so far
    array([8. , 8.5, 9. , 9.5], dtype=float32)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.2; Su, Lu, Pan, Murtadha, Wen and Liu 2021, "RoFormer: enhanced
    transformer with rotary position embedding", section 3.2 (rotary).
    """

    folds_rows = passes_mask = True

    def build(self, in_shape: Shape) -> Shape:
        steps, width = require_sequence(self, in_shape)
        self.steps = steps
        self.declare_heads(steps, steps, width)
        self.parameter("in_proj_weight", (width, 3 * width), init="glorot_uniform")
        self.parameter("in_proj_bias", (3 * width if self.bias else 0,))
        self.parameter("out_proj_weight", (width, width), init="linear_uniform")
        self.parameter("out_proj_bias", (width if self.bias else 0,))
        self.scratch("qkv", (steps, 3 * width))
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        steps, width = in_shape
        return steps * (parameters + 2 * steps * width)

    @staticmethod
    def forward(
        x, mask, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, steps, size, scores, turns, scale,
        causal, dropout, threshold, training, seed, first_row, qkv, attention, context, head, turned, dropped, out,
    ):  # fmt: skip
        rows, width = x.shape[0] // steps, num_heads * size
        dot(x, in_proj_weight, qkv)
        add_bias(in_proj_bias, qkv)
        taken = qkv.reshape((rows, steps, 3 * width))
        attend(taken, taken, taken, (0, width, 2 * width), num_heads, size, mask, scores, turns, scale, causal, dropout,
               threshold if training else 0, seed, first_row, attention, head, turned, dropped,
               context.reshape((rows, steps, width)))  # fmt: skip
        dot(context, out_proj_weight, out)
        add_bias(out_proj_bias, out)

    @staticmethod
    def backward(
        x, out_proj_weight, grad_out, num_heads, steps, size, turns, scale, causal, dropout, threshold, training, seed,
        first_row, qkv, attention, context, head, d_head, turned, ds, dropped, strip, grad_context, grad_qkv,
        grad_in_proj_weight, grad_in_proj_bias, grad_out_proj_weight, grad_out_proj_bias,
    ):  # fmt: skip
        rows, width = x.shape[0] // steps, num_heads * size
        dot(context.T, grad_out, grad_out_proj_weight)
        sum_rows(grad_out, grad_out_proj_bias)
        dot_transposed(grad_out, out_proj_weight, strip, grad_context)
        taken, grad_taken = qkv.reshape((rows, steps, 3 * width)), grad_qkv.reshape((rows, steps, 3 * width))
        attend_back(taken, taken, taken, (0, width, 2 * width), num_heads, size, turns, scale, causal, dropout,
                    threshold if training else 0, seed, first_row, attention, head, d_head, turned, ds, dropped,
                    grad_context.reshape((rows, steps, width)), grad_taken, grad_taken, grad_taken)  # fmt: skip
        dot(x.T, grad_qkv, grad_in_proj_weight)
        sum_rows(grad_qkv, grad_in_proj_bias)

    @staticmethod
    def backward_x(in_proj_weight, grad_qkv, strip, grad_x):
        dot_transposed(grad_qkv, in_proj_weight, strip, grad_x)

    def onnx(self, graph, x):
        steps, width = self._built.in_shape
        qkv = x @ graph.array("in_proj_weight")
        if self.bias:
            qkv = qkv + graph.array("in_proj_bias")
        q, k, v = graph.nodes(3, "Split", qkv, [width] * 3, axis=2)
        out = self.onnx_context(graph, q, k, v, steps, steps, graph.mask)
        out = out @ graph.array("out_proj_weight")
        return out + graph.array("out_proj_bias") if self.bias else out

    @classmethod
    def from_onnx(cls, at):
        """MatMul, perhaps Add, and Split before the heads; rotary positions are looked for with their usual base."""
        ahead = at.copy()
        if at.rank != 2 or ahead.take("MatMul") is None:
            return None
        bias = ahead.take("Add") is not None
        if ahead.take("Split") is None or (found := cls.read_heads(ahead)) is None:
            return None
        heads, mask = found
        orders = (False, True) if at.shape[0] ** 2 <= at.largest else (False,)  # it would be among the constants
        masks = (None,) if mask is None else (None, mask)
        return at.like(
            cls(heads, bias=bias, causal=causal, attn_mask=mask, rotary=rotary)
            for causal in orders for mask in masks for rotary in (None, 10000.0)
        )  # fmt: skip

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        ours = {name.replace(".", "_"): array for name, array in arrays.items()}
        return {name: array.T for name, array in ours.items()}  # the bias, a vector, is its own transpose

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(2), (3, 4)),
            Example(cls(1, causal=True, bias=False, dropout=0.3), (5, 3)),
            Example(cls(1, rotary=10000.0, attn_mask=np.arange(9.0).reshape(3, 3) / 9), (3, 4)),
        ]
