"""Matrix products. ``np.dot(a, b, out)`` is BLAS itself in compiled kernels; here is what it does badly, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.kernels.math import Compiled, variant

__all__ = ["SMALL", "add_bias", "dot", "dot_transposed", "sum_rows", "transpose"]

# Up to so many multiplications OpenBLAS multiplies without packing, and then a product with a transposed second matrix
# reaches 60 to 80 % of the speed of one that is not: transposing first is faster. (Zen 4, float32: 32 x 64 times
# (128 x 64).T takes 7.7 us, transposed first 5.4; beyond the limit there is nothing to gain.)
SMALL = 1_000_000

# Up to so many multiplications one row is multiplied faster by a loop than by BLAS, for all that comes with its call. (4 x 32:
# 26 ns instead of 137; 64 x 10: 215 instead of 250; but 64 x 128: 430 instead of 370.)
TINY = 1024


@variant(float32=Compiled("nnkit.kernels.simd", "transpose32"), float64=Compiled("nnkit.kernels.simd", "transpose64"))
def transpose(source: Any, target: Any) -> None:
    """Target = source.T."""
    target[...] = source.T


def dot(a: Any, b: Any, out: Any) -> None:
    """Out = a @ b."""
    if a.shape[0] == 1 and b.size <= TINY:
        row = out[0]
        row[:] = 0.0
        for i in range(b.shape[0]):
            factor, column = a[0, i], b[i]
            for j in range(row.shape[0]):
                row[j] += factor * column[j]
    else:
        np.dot(a, b, out)


def dot_transposed(a: Any, b: Any, work: Any, out: Any) -> None:
    """Out = a @ b.T; ``work`` is memory for b.T, or empty."""
    if a.shape[0] == 1 and b.size <= TINY:
        row = a[0]
        for i in range(b.shape[0]):
            total, column = 0.0, b[i]
            for j in range(row.shape[0]):
                total += row[j] * column[j]
            out[0, i] = total
    elif work.size > 0 and a.shape[0] > 1 and a.shape[0] * b.size <= SMALL:
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
