"""Matrix products, in tiles that stay in registers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.kernels.math import Compiled, variant

__all__ = ["STRIP", "add_bias", "dot", "dot_transposed", "multiply", "multiply_transposed", "sum_rows", "transpose"]

# Up to so many multiplications one row is multiplied faster by a loop than in tiles. (4 x 32: 26 ns.)
TINY = 1024

# So few columns leave most of a vector idle, and BLAS is faster. (200 x 100 x 2: 1.4 us instead of 4.3; x 10: 5.8 instead of
# 4.6.)
NARROW = 4

STRIP, ACROSS = 128, 64  # rows and columns of a matrix that are transposed in one go


@variant(
    float32=Compiled("nnkit.kernels.simd", "require_product32"), float64=Compiled("nnkit.kernels.simd", "require_product64")
)
def _require_product(a: Any, b: Any, turned: bool, out: Any) -> None:
    """Refuse matrices that do not fit: out = a @ b, or, with b ``turned``, a @ b.T."""
    inner, columns = b.shape[::-1] if turned else b.shape
    if a.shape[1] != inner or out.shape != (a.shape[0], columns):
        expected = "a (n, k), b (m, k)" if turned else "a (n, k), b (k, m)"
        raise ValueError(f"a matrix product: expected shapes {expected} and out (n, m), got a {a.shape}, b {b.shape} and out "
                         f"{out.shape}")  # fmt: skip
    if not a.dtype == b.dtype == out.dtype:
        raise TypeError(f"a matrix product: expected matrices of one dtype, got a {a.dtype}, b {b.dtype}, out {out.dtype}")


@variant(float32=Compiled("nnkit.kernels.simd", "transpose32"), float64=Compiled("nnkit.kernels.simd", "transpose64"))
def transpose(source: Any, target: Any) -> None:
    """Target = source.T."""
    if target.shape != source.shape[::-1]:
        raise ValueError(f"transpose: expected a target of shape {source.shape[::-1]}, got {target.shape}")
    target[...] = source.T


@variant(
    float32=Compiled("nnkit.kernels.simd", "multiply32", apart="multiply_apart32"),
    float64=Compiled("nnkit.kernels.simd", "multiply64", apart="multiply_apart64"),
)
def multiply(a: Any, b: Any, out: Any, fresh: bool) -> None:
    """Out = a @ b, or, unless ``fresh``, out += a @ b. It is fast where rows of b and out are contiguous.

    A tile of ``out`` is held in registers, while rows of b and numbers of a are read where they lie. On aligned memory this
    needs no copies to reach 85 to 95 % of what the processor can do (AVX-512, float32, GFLOP/s of 191: 64 x 784 x 512 169,
    OpenBLAS 100; 256 x 256 x 64 174, OpenBLAS 123; 32 x 64 x 128 170, OpenBLAS 167).
    """
    _require_product(a, b, False, out)
    if fresh:
        out[...] = a @ b
    else:
        out += a @ b


@variant(float32=Compiled("nnkit.kernels.simd", "narrow32"), float64=Compiled("nnkit.kernels.simd", "narrow64"))
def _narrow(a: Any, b: Any, out: Any) -> None:
    """Out = a @ b, of few columns."""
    np.dot(a, b, out) if out.flags.c_contiguous else multiply(a, b, out, True)


def dot(a: Any, b: Any, out: Any) -> None:
    """Out = a @ b, matrices of the kernel's dtype in any layout. Fast are those whose rows are contiguous; a may be turned."""
    _require_product(a, b, False, out)
    if a.shape[0] == 1 and b.size <= TINY:
        row = out[0]
        row[:] = 0.0
        for i in range(b.shape[0]):
            factor, column = a[0, i], b[i]
            for j in range(row.shape[0]):
                row[j] += factor * column[j]
    elif out.shape[1] <= NARROW:
        _narrow(a, b, out)
    else:
        multiply(a, b, out, True)


def dot_transposed(a: Any, b: Any, work: Any, out: Any) -> None:
    """Out = a @ b.T; ``work`` is memory for a strip of b.T, (STRIP, ACROSS)."""
    _require_product(a, b, True, out)
    if work.shape[0] < min(STRIP, b.shape[1]) or work.shape[1] < min(ACROSS, b.shape[0]):
        raise ValueError("dot_transposed: expected work of shape (STRIP, ACROSS)")
    if a.shape[0] == 1 and b.size <= TINY:
        row = a[0]
        for i in range(b.shape[0]):
            total, column = 0.0, b[i]
            for j in range(row.shape[0]):
                total += row[j] * column[j]
            out[0, i] = total
    else:
        multiply_transposed(a, b, work, out, True)


def multiply_transposed(a: Any, b: Any, work: Any, out: Any, fresh: bool) -> None:
    """Out = a @ b.T, or, unless ``fresh``, out += a @ b.T; ``work`` is as for `dot_transposed`."""
    _require_product(a, b, True, out)
    for i in range(0, b.shape[0], ACROSS):
        some = out[:, i : i + ACROSS]
        for k in range(0, b.shape[1], STRIP):
            piece = b[i : i + ACROSS, k : k + STRIP]
            strip = work[: piece.shape[1], : piece.shape[0]]
            transpose(piece, strip)
            multiply(a[:, k : k + STRIP], strip, some, fresh and k == 0)


def add_bias(bias, out):
    """Out[n] += bias for every row n; an empty bias is none."""
    if bias.shape[0] > 0:
        if bias.shape[0] != out.shape[1]:
            raise ValueError("add_bias: expected a number for each column of out, or none")
        for n in range(out.shape[0]):
            row = out[n]
            for j in range(row.shape[0]):
                row[j] += bias[j]


def sum_rows(rows, total):
    """Total = the sum of all rows, unless it is empty: the gradient of a bias."""
    total[:] = 0.0
    if total.shape[0] > 0:
        if total.shape[0] != rows.shape[1]:
            raise ValueError("sum_rows: expected a number of total for each column of rows, or none")
        for n in range(rows.shape[0]):
            row = rows[n]
            for j in range(row.shape[0]):
                total[j] += row[j]
