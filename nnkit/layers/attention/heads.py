"""What a head of attention does with its queries, keys and values, forward and backward; every attention is made of it.

Queries are worked on some at a time, a cache line of them side by side, from the matrix products to the softmax and back: P
is kept as [head, queries, key, query]. With ``causal``, keys behind all of these queries are left out.
"""

from __future__ import annotations

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import ShapeError
from nnkit.kernels.gemm import transpose
from nnkit.kernels.lanes import everywhere, lane_numbers, load, store, where
from nnkit.kernels.math import exp, real
from nnkit.kernels.random import uniform_bits
from nnkit.kernels.taps import contract, numbers_in_line

__all__ = ["LINE", "attend", "attend_back", "require_sequence"]

LINE = 16  # numbers of a cache line in float32; in float64 it is two lines


def require_sequence(layer: Layer, in_shape: Shape) -> Shape:
    """Refuse rows that are no sequences of features."""
    if len(in_shape) != 2:
        raise ShapeError(f"{layer!r}: expected sequences as input rows, (N, steps, features), got rows of {in_shape}")
    return in_shape


def take(rows, column, steps, size, part):
    """Gather a head: part[t, :size] = rows[t, column : column + size] for all steps t."""
    for t in range(steps):
        whole, own = rows[t], part[t]
        for j in range(size):
            own[j] = whole[column + j]


def put(part, rows, column, steps, size):
    """The same the other way."""
    for t in range(steps):
        whole, own = rows[t], part[t]
        for j in range(size):
            whole[column + j] = own[j]


def rotate(part, turns, steps, forth):
    """Turn the numbers j and j + d / 2 of step t by their angle there, forth or back; ``turns`` are the cosines and sines."""
    half = turns.shape[2]
    for t in range(steps):
        cosines, sines = turns[0, t], turns[1, t]
        first, second = part[t, :half], part[t, half : 2 * half]
        for j in range(half):
            a, b, sine = first[j], second[j], sines[j] if forth else -sines[j]
            first[j] = a * cosines[j] - b * sine
            second[j] = b * cosines[j] + a * sine


def softmax(s, base, seen, scale, mask, n, bias, h, first, causal):
    """Softmax of scaled scores over the keys: row ``base + key`` of s holds the scores of the queries from ``first`` on.

    ``bias``, if it is not None, is what is added to them, as [head, key, query].
    """
    top = everywhere(-np.inf, s[base])
    for key in range(seen):
        row = s[base + key]
        score = load(row) * scale
        if bias is not None:
            score = score + load(bias[min(h, bias.shape[0] - 1), key, first : first + row.shape[0]])
        if key < mask.shape[1] and mask[n, key] == 0:
            score = everywhere(-np.inf, row)
        elif causal and key > first:
            score = where(lane_numbers(row) < real(key - first), -np.inf, score)
        top = where(score > top, score, top)
        store(score, row)
    top = where(top == -np.inf, 0.0, top)  # of a query that sees no key
    for key in range(seen):
        store(load(s[base + key]) - top, s[base + key])
    flat = s.reshape(s.size)[base * s.shape[1] : (base + seen) * s.shape[1]]
    for i in range(flat.shape[0]):
        flat[i] = exp(flat[i])
    total = everywhere(0.0, s[base])
    for key in range(seen):
        total = total + load(s[base + key])
    factor = where(total == 0.0, 0.0, 1.0 / total)
    for key in range(seen):
        store(load(s[base + key]) * factor, s[base + key])


def softmax_back(p, base, seen, scale, d):
    """D[key] -> scale * p[key] (d[key] - sum_k p[k] d[k]), for the queries of a row side by side."""
    mean = everywhere(0.0, d[0])
    for key in range(seen):
        mean = mean + load(p[base + key]) * load(d[key])
    for key in range(seen):
        store(load(p[base + key]) * (load(d[key]) - mean) * scale, d[key])


def drop(source, base, seen, dropout, threshold, seed, place, step, target):
    """Target[key] = source[base + key] m / (1 - dropout); m, 0 or 1, goes by a place; those of keys lie a step apart."""
    kept = 1.0 / (1.0 - dropout)
    for key in range(seen):
        row, own = source[base + key], target[key]
        for lane in range(row.shape[0]):
            own[lane] = row[lane] * (kept if uniform_bits(seed, place + key * step + lane) >= threshold else 0.0)


def attend(
    queries, keys, values, columns, num_heads, size, mask, bias, turns, scale, causal, dropout, threshold, seed, first_row,
    attention, head, turned, dropped, context,
):  # fmt: skip
    """Context = P V of every head, for queries (rows, steps, ...), keys and values, whose first columns are ``columns``.

    ``attention`` keeps P. Without ``threshold``, nothing is dropped.
    """
    steps, others = queries.shape[1], keys.shape[1]
    head[:] = 0.0
    q, k, v, c = head[0], head[1], head[2], head[3]
    features, rows, line = head.shape[2], head.shape[1], numbers_in_line(context)
    p, weights = attention.reshape(attention.size // line, line), dropped.reshape(dropped.size // line, line)
    padded = -(-steps // LINE) * LINE
    for i in range(queries.shape[0] * num_heads):  # heads of rows
        n, h = i // num_heads, i % num_heads
        take(queries[n], columns[0] + h * size, steps, size, q)
        take(keys[n], columns[1] + h * size, others, size, k)
        take(values[n], columns[2] + h * size, others, size, v)
        if turns is not None:
            rotate(q, turns, steps, True)
            rotate(k, turns, others, True)
        transpose(q, turned)
        c[:] = 0.0
        for first in range(0, steps, line):
            seen, base = min(first + line, others) if causal else others, (i * padded + first) * others // line
            for key in range(seen):
                store(everywhere(0.0, p[base]), p[base + key])
            contract(turned, first, (0, 0, rows), k, 0, (0, 0, 1, features), (1, 1, size), p, base * line, line, seen)
            softmax(p, base, seen, scale, mask, n, bias, h, first, causal)
            used, begin = p, base * line
            if threshold > 0:
                place = (first_row * num_heads + i) * padded * others + first
                drop(p, base, seen, dropout, threshold, seed, place, padded, weights)
                used, begin = weights, 0
            for j in range(0, size, line):
                contract(v, j, (0, 0, features), used, begin, (0, 0, line, 1), (1, 1, seen),
                         c, first * features + j, features, min(line, steps - first))  # fmt: skip
        put(c, context[n], h * size, steps, size)


def attend_back(
    queries, keys, values, columns, num_heads, size, turns, scale, causal, dropout, threshold, seed, first_row,
    attention, head, d_head, turned, ds, dropped, grad_context, grad_queries, grad_keys, grad_values,
):  # fmt: skip
    """The gradients of queries, keys and values, which lie as these do."""
    steps, others = queries.shape[1], keys.shape[1]
    head[:] = 0.0
    q, k, v, dc = head[0], head[1], head[2], head[3]
    dq, dk, dv = d_head[0], d_head[1], d_head[2]
    features, rows, line = head.shape[2], head.shape[1], numbers_in_line(grad_context)
    p, d = attention.reshape(attention.size // line, line), ds.reshape(ds.size // line, line)
    weights, padded = dropped.reshape(dropped.size // line, line), -(-steps // LINE) * LINE
    for i in range(queries.shape[0] * num_heads):
        n, h = i // num_heads, i % num_heads
        take(queries[n], columns[0] + h * size, steps, size, q)
        take(keys[n], columns[1] + h * size, others, size, k)
        take(values[n], columns[2] + h * size, others, size, v)
        take(grad_context[n], h * size, steps, size, dc)
        if turns is not None:
            rotate(q, turns, steps, True)
            rotate(k, turns, others, True)
        transpose(dc, turned)
        d_head[:] = 0.0
        for first in range(0, steps, line):
            seen, base = min(first + line, others) if causal else others, (i * padded + first) * others // line
            for key in range(seen):
                store(everywhere(0.0, d[0]), d[key])
            contract(turned, first, (0, 0, rows), v, 0, (0, 0, 1, features), (1, 1, size), d, 0, line, seen)  # dP
            used, begin = p, base * line
            if threshold > 0:
                place = (first_row * num_heads + i) * padded * others + first
                drop(p, base, seen, dropout, threshold, seed, place, padded, weights)
                drop(d, 0, seen, dropout, threshold, seed, place, padded, d)
                used, begin = weights, 0
            softmax_back(p, base, seen, scale, d)
            for j in range(0, size, line):
                own = first * features + j
                contract(k, j, (0, 0, features), d, 0, (0, 0, line, 1), (1, 1, seen),
                         dq, own, features, min(line, steps - first))  # fmt: skip
                contract(q, own, (0, 0, features), d, 0, (0, 0, 1, line), (1, 1, line), dk, j, features, seen)
                contract(dc, own, (0, 0, features), used, begin, (0, 0, 1, line), (1, 1, line), dv, j, features, seen)
        if turns is not None:
            rotate(dq, turns, steps, False)
            rotate(dk, turns, others, False)
        put(dq, grad_queries[n], columns[0] + h * size, steps, size)
        put(dk, grad_keys[n], columns[1] + h * size, others, size)
        put(dv, grad_values[n], columns[2] + h * size, others, size)
