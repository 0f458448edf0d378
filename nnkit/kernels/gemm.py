"""Matrix products. ``np.dot(a, b, out)`` is BLAS itself in compiled kernels; here is what it does badly, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.kernels.math import Compiled, variant

__all__ = ["SMALL", "add_bias", "dot_transposed", "sum_rows", "transpose"]

# Up to so many multiplications OpenBLAS multiplies without packing, and then a product with a transposed second matrix
# reaches 60 to 80 % of the speed of one that is not: transposing first is faster. (Zen 4, float32: 32 x 64 times
# (128 x 64).T takes 7.7 us, transposed first 5.4; beyond the limit there is nothing to gain.)
SMALL = 1_000_000


@variant(float32=Compiled("nnkit.kernels.simd", "transpose32"), float64=Compiled("nnkit.kernels.simd", "transpose64"))
def transpose(source: Any, target: Any) -> None:
    """Target = source.T."""
    target[...] = source.T


def dot_transposed(a: Any, b: Any, work: Any, out: Any) -> None:
    """Out = a @ b.T; ``work`` is memory for b.T, or empty."""
    if work.size > 0 and a.shape[0] > 1 and a.shape[0] * b.size <= SMALL:
        transpose(b, work)
        np.dot(a, work, out)
    else:
        np.dot(a, b.T, out)


def add_bias(bias, out):
    """Out[n] += bias for every row n; an empty bias is none."""
    if bias.shape[0] > 0:
        for n in range(out.shape[0]):
            row = out[n]
            for j in range(row.shape[0]):
                row[j] += bias[j]


def sum_rows(rows, total):
    """Total = the sum of all rows, unless it is empty: the gradient of a bias."""
    total[:] = 0.0
    if total.shape[0] > 0:
        for n in range(rows.shape[0]):
            row = rows[n]
            for j in range(row.shape[0]):
                total[j] += row[j]
