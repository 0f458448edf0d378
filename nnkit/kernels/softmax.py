"""Softmax down the columns of a matrix: whole rows at a time, so that loops are long and vectorised."""

from __future__ import annotations

import numpy as np

from nnkit.kernels.math import exp, log

__all__ = ["log_softmax_backward", "log_softmax_columns", "softmax_backward", "softmax_columns"]


def _shift(x, top, out):
    """Out = x minus the largest number of each column, which is left in ``top``: nothing overflows in exp(out)."""
    top[:] = -np.inf
    for k in range(x.shape[0]):
        row = x[k]
        for i in range(row.shape[0]):
            top[i] = row[i] if row[i] > top[i] else top[i]
    for i in range(top.shape[0]):
        top[i] = top[i] if top[i] > -np.inf else 0.0
    for k in range(x.shape[0]):
        row, shifted = x[k], out[k]
        for i in range(row.shape[0]):
            shifted[i] = row[i] - top[i]


def softmax_columns(x, work, out):
    """Out[k, i] = exp(x[k, i]) / sum_j exp(x[j, i]); columns of nothing but -infinity, and only those, become 0.

    ``work`` (i) has room for a number of each column. ``out`` may be x.
    """
    _shift(x, work, out)
    work[:] = 0.0
    for k in range(out.shape[0]):
        row = out[k]
        for i in range(row.shape[0]):
            row[i] = exp(row[i])
            work[i] += row[i]
    for i in range(work.shape[0]):
        work[i] = 0.0 if work[i] == 0.0 else 1.0 / work[i]
    for k in range(out.shape[0]):
        row = out[k]
        for i in range(row.shape[0]):
            row[i] *= work[i]


def softmax_backward(out, grad_out, work, grad_x):
    """Grad_x[k, i] = out[k, i] (grad_out[k, i] - sum_j out[j, i] grad_out[j, i]); grad_x may be grad_out."""
    work[:] = 0.0
    for k in range(out.shape[0]):
        s, d = out[k], grad_out[k]
        for i in range(s.shape[0]):
            work[i] += s[i] * d[i]
    for k in range(out.shape[0]):
        s, d, g = out[k], grad_out[k], grad_x[k]
        for i in range(s.shape[0]):
            g[i] = s[i] * (d[i] - work[i])


def log_softmax_columns(x, work, out):
    """Out[k, i] = x[k, i] - log(sum_j exp(x[j, i])); ``out`` may be x."""
    _shift(x, work, out)
    work[:] = 0.0
    for k in range(out.shape[0]):
        row = out[k]
        for i in range(row.shape[0]):
            work[i] += exp(row[i])
    for i in range(work.shape[0]):
        work[i] = log(work[i])
    for k in range(out.shape[0]):
        row = out[k]
        for i in range(row.shape[0]):
            row[i] -= work[i]


def log_softmax_backward(out, grad_out, work, grad_x):
    """Grad_x[k, i] = grad_out[k, i] - exp(out[k, i]) sum_j grad_out[j, i]; grad_x may be grad_out."""
    work[:] = 0.0
    for k in range(out.shape[0]):
        d = grad_out[k]
        for i in range(d.shape[0]):
            work[i] += d[i]
    for k in range(out.shape[0]):
        s, d, g = out[k], grad_out[k], grad_x[k]
        for i in range(s.shape[0]):
            g[i] = d[i] - exp(s[i]) * work[i]
