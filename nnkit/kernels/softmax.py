"""Softmax in place: of a row, and of the columns of a matrix, there whole rows at a time, so that loops are long.

A helper with an input and an output that may be the same would be compiled with a check for that in every loop, and in
place take the slow way: whoever needs the input again copies it first.
"""

from __future__ import annotations

import numpy as np

from nnkit.kernels.math import exp, log

__all__ = [
    "log_softmax_columns",
    "log_softmax_columns_backward",
    "softmax_columns",
    "softmax_columns_backward",
    "softmax_row",
    "softmax_row_backward",
]


def softmax_row(row):
    """X[k] -> exp(x[k]) / sum_j exp(x[j]); the largest x is subtracted first."""
    top = row[0]
    for k in range(row.shape[0]):
        top = max(top, row[k])
    total = 0.0
    for k in range(row.shape[0]):
        row[k] = exp(row[k] - top)
        total += row[k]
    for k in range(row.shape[0]):
        row[k] /= total


def softmax_row_backward(out, grad):
    """Grad_out[k] -> grad_x[k] = out[k] (grad_out[k] - sum_j out[j] grad_out[j])."""
    mean = 0.0
    for k in range(out.shape[0]):
        mean += out[k] * grad[k]
    for k in range(out.shape[0]):
        grad[k] = out[k] * (grad[k] - mean)


def _subtract_largest(x, top):
    """Subtract from each column its largest number."""
    top[:] = -np.inf
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            top[i] = np.maximum(top[i], row[i])  # a comparison would become a store that is skipped, which is not vectorised
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            row[i] -= top[i]


def softmax_columns(x, work):
    """X[k, i] -> exp(x[k, i]) / sum_j exp(x[j, i]); ``work`` has room for a number of each column."""
    _subtract_largest(x, work)
    work[:] = 0.0
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            row[i] = exp(row[i])
            work[i] += row[i]
    for i in range(work.shape[0]):
        work[i] = 1.0 / work[i]
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            row[i] *= work[i]


def softmax_columns_backward(out, grad, work):
    """Grad_out[k, i] -> grad_x[k, i] = out[k, i] (grad_out[k, i] - sum_j out[j, i] grad_out[j, i])."""
    work[:] = 0.0
    for k in range(out.shape[0]):
        s, d = out[k], grad[k]
        for i in range(s.shape[0]):
            work[i] += s[i] * d[i]
    for k in range(out.shape[0]):
        s, d = out[k], grad[k]
        for i in range(s.shape[0]):
            d[i] = s[i] * (d[i] - work[i])


def log_softmax_columns(x, work):
    """X[k, i] -> x[k, i] - log(sum_j exp(x[j, i]))."""
    _subtract_largest(x, work)
    work[:] = 0.0
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            work[i] += exp(row[i])
    for i in range(work.shape[0]):
        work[i] = log(work[i])
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            row[i] -= work[i]


def log_softmax_columns_backward(out, grad, work):
    """Grad_out[k, i] -> grad_x[k, i] = grad_out[k, i] - exp(out[k, i]) sum_j grad_out[j, i]."""
    work[:] = 0.0
    for k in range(out.shape[0]):
        d = grad[k]
        for i in range(d.shape[0]):
            work[i] += d[i]
    for k in range(out.shape[0]):
        s, d = out[k], grad[k]
        for i in range(s.shape[0]):
            d[i] -= exp(s[i]) * work[i]
