"""Attention of one sequence to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import add_bias, dot, dot_transposed, sum_rows
from nnkit.layers.attention.heads import attend, attend_back, require_sequence
from nnkit.layers.attention.layer import Attention
from nnkit.layers.merge import packed

__all__ = ["CrossAttention"]


@register("cross_attention")
class CrossAttention(Attention):
    r"""Every step of a sequence, the queries, looks at all steps of another one: of its keys, and takes of its values.

    Q = query @ q_proj_weight + b_q, K = key @ k_proj_weight + b_k, V = value @ v_proj_weight + b_v, with b the parts of
    in_proj_bias; all else is as in `MultiHeadAttention`, forward and backward: PyTorch has one class for both. Steps where the
    keys' mask is 0 are seen by nobody.

    Parameters
    ----------
    num_heads : int >= 1
    dropout, bias, causal, attn_mask, rotary : as `MultiHeadAttention` takes them; attn_mask is (queries, keys)

    Shape
    -----
    query: (N, steps, features), key: (N, others, any), value: (N, others, any) -> out: (N, steps, features); q_proj_weight,
    k_proj_weight and v_proj_weight: (that input's features, features); in_proj_bias: (3 features,); out_proj_weight: (features,
    features); out_proj_bias: (features,).

    Raises
    ------
    ShapeError
        An input is no sequence, there are not as many keys as values, or ``num_heads`` does not divide the queries' features.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(out=(("words", "image", "image"), nn.CrossAttention(2)))
    >>> nn.Sequential([net]).build({"words": (5, 8), "image": (49, 6)}).out_shape
    (5, 8)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.2.3.
    """

    inputs = ("query", "key", "value")
    passes_mask = True

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        (steps, width), (others, k_width), (values, v_width) = (require_sequence(self, in_shape[name]) for name in self.inputs)
        if others != values:
            raise ShapeError(f"{self!r}: expected a value for each key, got {others} keys and {values} values")
        self.declare_heads(steps, others, width)
        bound = sqrt(6 / (width + 3 * width))  # of one matrix for all three, as PyTorch draws where features are equal
        for name, features in (("q_proj_weight", width), ("k_proj_weight", k_width), ("v_proj_weight", v_width)):
            equal = k_width == v_width == width
            self.parameter(name, (features, width), init=Uniform(-bound, bound) if equal else "glorot_uniform")
        self.parameter("in_proj_bias", (3 * width if self.bias else 0,))
        self.parameter("out_proj_weight", (width, width), init="linear_uniform")
        self.parameter("out_proj_bias", (width if self.bias else 0,))
        self.scratch("q", (steps, width))
        self.scratch("k", (others, width))
        self.scratch("v", (others, width))
        return in_shape["query"]

    def work(self, in_shape: dict[str, Shape], out_shape: Shape, parameters: int) -> int:
        steps, width = out_shape
        return max(steps, in_shape["key"][0]) * parameters + 2 * steps * in_shape["key"][0] * width

    @staticmethod
    def forward(
        query, key, value, mask_key, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias,
        num_heads, size, scores, turns, scale, causal, dropout, threshold, training, seed, first_row, q, k, v, attention,
        context, head, turned, dropped, out,
    ):  # fmt: skip
        rows, steps, width = out.shape
        others = key.shape[1]
        cut = width if in_proj_bias.shape[0] > 0 else 0
        project(query.reshape((rows * steps, width)), q_proj_weight, in_proj_bias[:cut], q.reshape((rows * steps, width)))
        project(key.reshape((rows * others, key.shape[2])), k_proj_weight, in_proj_bias[cut : 2 * cut],
                k.reshape((rows * others, width)))  # fmt: skip
        project(value.reshape((rows * others, value.shape[2])), v_proj_weight, in_proj_bias[2 * cut :],
                v.reshape((rows * others, width)))  # fmt: skip
        attend(q, k, v, (0, 0, 0), num_heads, size, mask_key, scores, turns, scale, causal, dropout,
               threshold if training else 0, seed, first_row, attention, head, turned, dropped, context)  # fmt: skip
        project(context.reshape((rows * steps, width)), out_proj_weight, out_proj_bias, out.reshape((rows * steps, width)))

    @staticmethod
    def backward(
        query, key, value, q_proj_weight, k_proj_weight, v_proj_weight, out_proj_weight, grad_out, num_heads, size, turns,
        scale, causal, dropout, threshold, training, seed, first_row, q, k, v, attention, context, head, d_head, turned, ds,
        dropped, strip, grad_context, grad_q, grad_k, grad_v, grad_query, grad_key, grad_value, grad_q_proj_weight,
        grad_k_proj_weight, grad_v_proj_weight, grad_in_proj_bias, grad_out_proj_weight, grad_out_proj_bias,
    ):  # fmt: skip
        rows, steps, width = grad_out.shape
        others = key.shape[1]
        cut = width if grad_in_proj_bias.shape[0] > 0 else 0
        project_back(context.reshape((rows * steps, width)), out_proj_weight, grad_out.reshape((rows * steps, width)), strip,
                     grad_out_proj_weight, grad_out_proj_bias, grad_context.reshape((rows * steps, width)))  # fmt: skip
        attend_back(q, k, v, (0, 0, 0), num_heads, size, turns, scale, causal, dropout, threshold if training else 0, seed,
                    first_row, attention, head, d_head, turned, ds, dropped, grad_context, grad_q, grad_k, grad_v)  # fmt: skip
        project_back(query.reshape((rows * steps, width)), q_proj_weight, grad_q.reshape((rows * steps, width)), strip,
                     grad_q_proj_weight, grad_in_proj_bias[:cut], grad_query.reshape((rows * steps, width)))  # fmt: skip
        project_back(key.reshape((rows * others, key.shape[2])), k_proj_weight, grad_k.reshape((rows * others, width)), strip,
                     grad_k_proj_weight, grad_in_proj_bias[cut : 2 * cut],
                     grad_key.reshape((rows * others, key.shape[2])))  # fmt: skip
        project_back(value.reshape((rows * others, value.shape[2])), v_proj_weight, grad_v.reshape((rows * others, width)),
                     strip, grad_v_proj_weight, grad_in_proj_bias[2 * cut :],
                     grad_value.reshape((rows * others, value.shape[2])))  # fmt: skip

    def onnx(self, graph, x):
        width = self._built.out_shape[1]
        projected = []
        for place, (name, value) in enumerate(zip("qkv", fields(x).values(), strict=True)):
            part = value @ graph.array(f"{name}_proj_weight")
            if self.bias:
                part = part + graph.array("in_proj_bias").array[place * width : (place + 1) * width]
            projected.append(part)
        q, k, v = projected
        steps, others = self._built.out_shape[0], self._built.in_shape["key"][0]
        out = self.onnx_context(graph, q, k, v, steps, others, graph.masks.get("key")) @ graph.array("out_proj_weight")
        return out + graph.array("out_proj_bias") if self.bias else out

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """PyTorch has one matrix for all three where their features are equal."""
        ours = {name.replace(".", "_"): array for name, array in arrays.items()}
        if "in_proj_weight" in ours:
            parts = np.split(ours.pop("in_proj_weight"), 3)
            ours |= {f"{name}_proj_weight": part for name, part in zip("qkv", parts, strict=True)}
        return {name: array.T for name, array in ours.items()}  # a bias is its own transpose

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(2, dropout=0.2), query=(2, 4), key=(3, 4), value=(3, 4)),
            packed(cls(1, bias=False, causal=True), query=(3, 2), key=(2, 3), value=(2, 1)),
        ]


def project(x, weight, bias, out):
    """Out = x @ weight + bias."""
    dot(x, weight, out)
    add_bias(bias, out)


def project_back(x, weight, grad_out, strip, grad_weight, grad_bias, grad_x):
    """The gradients of `project`."""
    dot(x.T, grad_out, grad_weight)
    sum_rows(grad_out, grad_bias)
    dot_transposed(grad_out, weight, strip, grad_x)
