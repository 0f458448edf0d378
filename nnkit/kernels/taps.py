"""Sums over the taps of a convolution, for rows in blocks: every sum is a vector over the rows of a block.

Arrays are seen as one row of numbers each, in which starts and steps count. These Python functions say what is computed; in
kernels vector instructions take their place, with the sums of several outputs in registers (a forward pass runs at 95 % of
the speed of a matrix product of 512 x 512 numbers, without the copies that im2col needs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.kernels.math import Compiled, variant

__all__ = ["contract", "convolve", "convolve_transposed", "correlate", "gradient_of_weight", "numbers_in_line", "span"]


@variant(
    float32=Compiled("nnkit.kernels.simd", "contract32", apart="contract_apart32"),
    float64=Compiled("nnkit.kernels.simd", "contract64", apart="contract_apart64"),
)
def contract(
    x: Any, start: int, x_steps: Any, weight: Any, begin: int, w_steps: Any, counts: Any, out: Any, place: int, step: int,
    width: int,
) -> None:  # fmt: skip
    """Add to ``width`` outputs: out[k, lane] += sum over a, b, c of weight[a, b, c, k] x[a, b, c, lane].

    There are ``counts`` of a, b and c, which lie ``x_steps`` and ``w_steps`` apart in x and in weight; the last of the latter
    is from k to k. Outputs lie ``step`` apart. Lanes, as many as a cache line holds, lie next to each other.
    """
    a, b, c = np.ogrid[: counts[0], : counts[1], : counts[2]]
    lanes = np.arange(numbers_in_line(out))
    places = (start + a * x_steps[0] + b * x_steps[1] + c * x_steps[2]).reshape(-1, 1) + lanes
    factors = (begin + a * w_steps[0] + b * w_steps[1] + c * w_steps[2]).reshape(-1, 1) + w_steps[3] * np.arange(width)
    sums = weight.reshape(-1)[factors].T @ x.reshape(-1)[places]
    out.reshape(-1)[place + step * np.arange(width)[:, None] + lanes] += sums


@variant(
    float32=Compiled("nnkit.kernels.simd", "correlate32", apart="correlate_apart32"),
    float64=Compiled("nnkit.kernels.simd", "correlate64", apart="correlate_apart64"),
)
def correlate(
    d: Any, start: int, d_steps: Any, x: Any, begin: int, x_steps: Any, counts: Any, out: Any, place: int, out_steps: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Add to outputs k, t of ``sizes``: out[k, t] += sum over a, b and lanes of d[k, a, b, lane] x[t, a, b, lane]."""
    a, b = np.ogrid[: counts[0], : counts[1]]
    k, t, lanes = np.arange(sizes[0]), np.arange(sizes[1]), np.arange(numbers_in_line(d))
    left = (start + a * d_steps[1] + b * d_steps[2]).reshape(-1, 1) + lanes
    right = (begin + a * x_steps[1] + b * x_steps[2]).reshape(-1, 1) + lanes
    left, right = left + d_steps[0] * k[:, None, None], right + x_steps[0] * t[:, None, None]
    sums = np.tensordot(d.reshape(-1)[left], x.reshape(-1)[right], ((1, 2), (1, 2)))
    out.reshape(-1)[place + out_steps[0] * k[:, None] + out_steps[1] * t] += sums


def numbers_in_line(array):
    """How many of an array's numbers a cache line holds."""
    return 64 // array.itemsize


def span(origin: int, step: int, count: int, size: int) -> Any:
    """Which of the places origin + step * t, t < count, lie in [0, size): the first t, and how many."""
    first = max(0, -(origin // step))
    return first, max(0, min(count, (size - 1 - origin) // step + 1) - first)


def meeting_taps(place: int, dilation: int, stride: int, taps: int, size: int) -> Any:
    """Taps i with place = stride * position + dilation * i and a position in [0, size).

    Returns
    -------
    first tap, step from tap to tap, position of the first tap, positions back from tap to tap, number of taps
    """
    first = 0
    while first < stride and (place - dilation * first) % stride != 0:
        first += 1
    tap_step = 1
    while dilation * tap_step % stride != 0:
        tap_step += 1
    back = dilation * tap_step // stride
    position = (place - dilation * first) // stride
    if first >= min(stride, taps) or position < 0:
        return 0, 1, 0, 0, 0
    skipped = max(0, -((size - 1 - position) // back))
    count = min((taps - 1 - first) // tap_step, position // back) + 1 - skipped
    return first + skipped * tap_step, tap_step, position - skipped * back, back, max(0, count)


def convolve(x, weight, packed, strides, paddings, dilations, groups, out):
    """Add to out the convolution of x: out[k, od, oh, ow] += sum over c, t, i, j of weight[k, c, t, i, j] x[c, d, h, w].

    d = stride * od - padding + dilation * t, likewise h and w. ``packed`` is memory for the weight, as [group, c, t, i, j, k];
    a plane of it at a time stays in the first-level cache.
    """
    blocks, channels, planes, height, width, lanes = x.shape
    outputs, depth, kernel_d, kernel_h, kernel_w = weight.shape
    out_d, out_h, out_w = out.shape[2], out.shape[3], out.shape[4]
    filters, taps = outputs // groups, kernel_d * kernel_h * kernel_w
    packed_taps = packed.reshape(groups, depth * taps, filters)
    rows = weight.reshape(groups, filters, depth * taps)
    for g in range(groups):
        for k in range(filters):
            for t in range(depth * taps):
                packed_taps[g, t, k] = rows[g, k, t]
    channel, plane = planes * height * width * lanes, dilations[0] * height * width * lanes
    w_channel, w_plane, out_step = taps * filters, kernel_h * kernel_w * filters, out_d * out_h * out_w * lanes
    for b in range(blocks):
        for g in range(groups):
            for od in range(out_d):
                d = strides[0] * od - paddings[0]
                t, count_d = span(d, dilations[0], kernel_d, planes)
                x_start = ((b * channels + g * depth) * planes + d + dilations[0] * t) * height
                place = ((b * outputs + g * filters) * out_d + od) * out_h
                deep = depth >= count_d  # channels or planes, of which there are more, are summed in one go
                x_steps = (channel if deep else plane, dilations[1] * width * lanes, dilations[2] * lanes)
                w_steps = (w_channel if deep else w_plane, kernel_w * filters, filters, 1)
                for n in range(count_d if deep else depth):
                    w_start = (g * depth * kernel_d + t) * w_plane + n * (w_plane if deep else w_channel)
                    for oh in range(out_h):
                        h = strides[1] * oh - paddings[1]
                        i, count_h = span(h, dilations[1], kernel_h, height)
                        for ow in range(out_w):
                            w = strides[2] * ow - paddings[2]
                            j, count_w = span(w, dilations[2], kernel_w, width)
                            start = ((x_start + h + dilations[1] * i) * width + w + dilations[2] * j) * lanes
                            start += n * (plane if deep else channel)
                            counts = (depth if deep else count_d, count_h, count_w)
                            begin = w_start + (i * kernel_w + j) * filters
                            contract(x, start, x_steps, packed, begin, w_steps, counts,
                                     out, ((place + oh) * out_w + ow) * lanes, out_step, filters)  # fmt: skip


def convolve_transposed(d, weight, packed, strides, paddings, dilations, groups, out):
    """Add to out the transpose of `convolve`: out[c, z, h, w] += sum over k, t, i, j of weight[k, c, t, i, j] d[k, oz, oh, ow].

    The sum is over all oz, oh and ow with z = stride * oz - padding + dilation * t, likewise h and w. ``packed`` is memory for
    the weight, as [k, t, i, j, c].
    """
    blocks, inputs, d_z, d_h, d_w, lanes = d.shape
    _, depth, kernel_z, kernel_h, kernel_w = weight.shape
    channels, planes, height, width = out.shape[1], out.shape[2], out.shape[3], out.shape[4]
    filters, taps = inputs // groups, kernel_z * kernel_h * kernel_w
    packed_taps = packed.reshape(inputs, taps, depth)
    rows = weight.reshape(inputs, depth, taps)
    for k in range(inputs):
        for c in range(depth):
            for t in range(taps):
                packed_taps[k, t, c] = rows[k, c, t]
    for z in range(planes):
        first, step_t, last, back_z, count_z = meeting_taps(z + paddings[0], dilations[0], strides[0], kernel_z, d_z)
        for n in range(count_z):
            t, oz = first + n * step_t, last - n * back_z
            for h in range(height):
                i, step_i, oh, back_h, count_h = meeting_taps(h + paddings[1], dilations[1], strides[1], kernel_h, d_h)
                for w in range(width):
                    j, step_j, ow, back_w, count_w = meeting_taps(w + paddings[2], dilations[2], strides[2], kernel_w, d_w)
                    d_steps = (d_z * d_h * d_w * lanes, -back_h * d_w * lanes, -back_w * lanes)
                    w_steps = (taps * depth, step_i * kernel_w * depth, step_j * depth, 1)
                    for b in range(blocks):
                        for g in range(groups):
                            start = ((((b * inputs + g * filters) * d_z + oz) * d_h + oh) * d_w + ow) * lanes
                            place = ((((b * channels + g * depth) * planes + z) * height + h) * width + w) * lanes
                            begin = (((g * filters * kernel_z + t) * kernel_h + i) * kernel_w + j) * depth
                            contract(d, start, d_steps, packed, begin, w_steps, (filters, count_h, count_w),
                                     out, place, planes * height * width * lanes, depth)  # fmt: skip


def gradient_of_weight(d, x, strides, paddings, dilations, groups, out):
    """Out = the weight's gradient in `convolve`: out[k, c, t, i, j] = sum of d[k, oz, oh, ow] x[c, z, h, w].

    The sum is over oz, oh, ow and rows. Some rows of d at a time, so that they stay in the first-level cache while all taps of
    a plane read them.
    """
    blocks, channels, planes, height, width, lanes = x.shape
    outputs, depth, kernel_z, kernel_h, kernel_w = out.shape
    d_z, d_h, d_w = d.shape[2], d.shape[3], d.shape[4]
    filters, taps = outputs // groups, kernel_z * kernel_h * kernel_w
    d_steps = (d_z * d_h * d_w * lanes, d_w * lanes, lanes)
    x_steps = (planes * height * width * lanes, strides[1] * width * lanes, strides[2] * lanes)
    together = max(1, 48 // d_w)
    sums = out.reshape(out.size)
    for i in range(sums.shape[0]):
        sums[i] = 0.0
    for b in range(blocks):
        for g in range(groups):
            for oz in range(d_z):
                z = strides[0] * oz - paddings[0]
                first, count_z = span(z, dilations[0], kernel_z, planes)
                for top in range(0, d_h, together):
                    for t in range(first, first + count_z):
                        for i in range(kernel_h):
                            h = strides[1] * top - paddings[1] + dilations[1] * i
                            oh, count_h = span(h, strides[1], min(together, d_h - top), height)
                            for j in range(kernel_w):
                                w = dilations[2] * j - paddings[2]
                                ow, count_w = span(w, strides[2], d_w, width)
                                plane = (b * outputs + g * filters) * d_z + oz
                                start = ((plane * d_h + top + oh) * d_w + ow) * lanes
                                plane = (b * channels + g * depth) * planes + z + dilations[0] * t
                                begin = ((plane * height + h + strides[1] * oh) * width + w + strides[2] * ow) * lanes
                                place = (g * filters * depth * kernel_z + t) * kernel_h * kernel_w + i * kernel_w + j
                                correlate(d, start, d_steps, x, begin, x_steps, (count_h, count_w),
                                          out, place, (depth * taps, taps), (filters, depth))  # fmt: skip
