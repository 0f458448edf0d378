"""Kernels between the user's data and the net: gather a batch, weigh its rows, add up its loss, check it."""

from __future__ import annotations

import numpy as np

from nnkit.kernels.control import NOT_FINITE, Word, refuse
from nnkit.kernels.gemm import transpose

__all__ = [
    "LABELS",
    "accumulate_loss",
    "add",
    "add_loss",
    "add_slabs",
    "add_wave",
    "blend",
    "clip_gradient",
    "copy",
    "copy_columns",
    "copy_unless_stopped",
    "decay_gradient",
    "drop_ignored",
    "fill",
    "gather",
    "gather_labels",
    "gather_weights",
    "gradient_norm",
    "limit_columns",
    "limit_rows",
    "note",
    "push_to_zero",
    "require_finite",
    "require_range",
    "rest",
    "scale",
    "scale_gradient",
    "scatter",
    "shrink_value",
    "silence",
    "spell",
    "swap_axes",
    "to_whole",
    "turn_gradient",
    "uniform_weights",
]

LOSS, STATUS = int(Word.LOSS), int(Word.STATUS)  # compiled code wants plain integers
LABELS = -1  # the check of the labels of a batch; those of layers are counted from 0


def gather(source, row_stride, column_stride, order, offset, first_row, out):
    """Copy this shard's rows of the data, in whatever dtype and memory order it has; strides count numbers."""
    for n in range(out.shape[0]):
        start = (order[first_row + n] + offset) * row_stride
        row = source[start:]
        if column_stride == 1:
            for j in range(out.shape[1]):
                out[n, j] = row[j]
        else:
            for j in range(out.shape[1]):
                out[n, j] = row[j * column_stride]


def gather_labels(source, row_stride, column_stride, order, offset, first_row, per_row, classes, ignored, control, label):
    """Copy the class labels of this shard's rows, ``per_row`` of them a row; those of no class are refused, but ``ignored``."""
    for n in range(label.shape[0] // per_row):
        start = (order[first_row + n] + offset) * row_stride
        for r in range(per_row):
            number = np.int64(source[start + r * column_stride])
            if not (0 <= number < classes or number == ignored):
                refuse(control, LABELS, n * per_row + r, number)
            label[n * per_row + r] = number


def spell(label, out):
    """Class labels as one-hot rows."""
    for n in range(out.shape[0]):
        row = out[n]
        for k in range(row.shape[0]):
            row[k] = 0.0
        row[label[n]] = 1.0


def fill(number, out):
    """All of out = number."""
    for i in range(out.shape[0]):
        out[i] = number


def require_range(numbers, limit, check, control):
    """Refuse numbers that are not from 0 to below ``limit``. They become 0, so that whatever reads them stays in range."""
    wrong = 0
    for i in range(numbers.shape[0]):
        wrong += (numbers[i] < 0) | (numbers[i] >= limit)
    if wrong > 0:
        for i in range(numbers.shape[0]):
            if numbers[i] < 0 or numbers[i] >= limit:
                refuse(control, check, i, numbers[i])
                numbers[i] = 0


def to_whole(source, out):
    """Whole numbers as such; anything else as -1, which is out of every range."""
    for i in range(out.shape[0]):
        number = source[i]
        out[i] = np.int64(number) if 0 <= number < 2**31 and number == np.floor(number) else -1


def copy(source, out):
    """Out = source."""
    for i in range(out.shape[0]):
        out[i] = source[i]


def copy_unless_stopped(source, control, out):
    """Out = source, or NaN where the shard has stopped."""
    for i in range(out.shape[0]):
        out[i] = source[i] if control[STATUS] == 0 else np.nan


def scatter(out, step, first_row, rows, destination):
    """Copy a shard's output rows to where they belong, where every step has ``rows`` rows."""
    start = step * rows + first_row
    for n in range(out.shape[0]):
        for j in range(out.shape[1]):
            destination[start + n, j] = out[n, j]


def uniform_weights(batch_rows, terms, mean, weight):
    """Every row weighs the same; with ``mean``, all terms of the batch together weigh 1."""
    share = 1.0 / (batch_rows * terms) if mean else 1.0
    for i in range(weight.shape[0]):
        weight[i] = share


def gather_weights(source, order, offset, first_row, batch_rows, per_row, terms, mean, weight):
    """Sample weights of this shard's rows, which are 1 on average; with ``mean`` all terms of the batch share them.

    A row of the source has one weight, or ``per_row`` of them.
    """
    share = 1.0 / (batch_rows * terms) if mean else 1.0
    last = source.shape[1] - 1
    for n in range(weight.shape[0] // per_row):
        row = source[order[first_row + n] + offset]
        for r in range(per_row):
            weight[n * per_row + r] = row[min(r, last)] * share


def drop_ignored(ignored, label, weight):
    """Labels that do not count weigh nothing, and become 0, so that whatever reads them stays in range."""
    for i in range(label.shape[0]):
        if label[i] == ignored:
            label[i] = 0
            weight[i] = 0.0


def silence(weight, row_loss, grad):
    """What weighs nothing has the loss 0 and no gradient, whatever has come out there."""
    for n in range(row_loss.shape[0]):
        if weight[n] == 0.0:
            row_loss[n] = 0.0
            row = grad[n]
            for j in range(row.shape[0]):
                row[j] = 0.0


def swap_axes(x, out):
    """Out[n, j, i] = x[n, i, j]."""
    for n in range(x.shape[0]):
        transpose(x[n], out[n])


def accumulate_loss(weight, row_loss, control):
    """Add up what the shard's rows contribute to the batch's loss, in float64."""
    total = 0.0
    for n in range(row_loss.shape[0]):
        total += weight[n] * row_loss[n]
    control[LOSS] = total


def add_loss(weight, row_loss, control):
    """Add it to what the losses of other outputs are."""
    total = control[LOSS]
    for n in range(row_loss.shape[0]):
        total += weight[n] * row_loss[n]
    control[LOSS] = total


def require_finite(array, control):
    """Stop the shard where a number is NaN or infinite; 0 times it is NaN, and so is a sum that holds it."""
    total = array[0] * 0.0
    for i in range(array.shape[0]):
        total += array[i] * 0.0
    if total != 0.0:
        control[STATUS] = NOT_FINITE


def add_slabs(slabs, size, shards, chunk):
    """Add the other shards' gradients to the first one's, in order; slab s of ``size`` numbers begins at s * size."""
    total = slabs[:chunk]
    for shard in range(1, shards):
        slab = slabs[shard * size : shard * size + chunk]
        for i in range(chunk):
            total[i] += slab[i]


def add_wave(wave, first_row, total):
    """Add the gradient of a wave of the batch, which begins with this row, to those before it."""
    if first_row == 0:
        for i in range(total.shape[0]):
            total[i] = wave[i]
    else:
        for i in range(total.shape[0]):
            total[i] += wave[i]


def clip_gradient(grad, limit):
    """Clip every number to [-limit, limit]."""
    for i in range(grad.shape[0]):
        grad[i] = min(max(grad[i], -limit), limit)


def gradient_norm(grad, norm):
    """Euclidean norm of a chunk, in float64; where the squares overflow or vanish, they are those of g / max |g|."""
    total = np.float64(0.0)
    for i in range(grad.shape[0]):
        total += np.float64(grad[i]) * np.float64(grad[i])
    unit = np.float64(1.0)
    if not np.float64(1e-200) < total < np.float64(1e200):
        unit = np.float64(0.0)
        for i in range(grad.shape[0]):
            unit = max(unit, np.float64(abs(grad[i])))
        if 0.0 < unit < np.inf:
            total = np.float64(0.0)
            for i in range(grad.shape[0]):
                total += (np.float64(grad[i]) / unit) ** 2
    norm[0] = unit * np.sqrt(total)


def scale_gradient(grad, factor):
    """Multiply by the factor that clips the whole gradient's norm."""
    scale = factor[0]
    for i in range(grad.shape[0]):
        grad[i] *= scale


def turn_gradient(grad):
    """The gradient of what is to be made small, where something is to be made large."""
    for i in range(grad.shape[0]):
        grad[i] = -grad[i]


def decay_gradient(grad, value, weight_decay):
    """L2 penalty: the gradient of weight_decay / 2 * value**2."""
    for i in range(grad.shape[0]):
        grad[i] += weight_decay * value[i]


def shrink_value(value, lr, weight_decay):
    """Decoupled weight decay (Loshchilov and Hutter 2019): value -= lr * weight_decay * value."""
    keep = 1.0 - lr * weight_decay
    for i in range(value.shape[0]):
        value[i] *= keep


def push_to_zero(grad, value, l1):
    """L1 penalty: the gradient of l1 * |value|, which is 0 at 0."""
    for i in range(grad.shape[0]):
        grad[i] += (l1 if value[i] > 0.0 else 0.0) - (l1 if value[i] < 0.0 else 0.0)


def limit_columns(value, max_norm, norms):
    """Scale the columns of a matrix down whose Euclidean norm is above the limit."""
    for j in range(norms.shape[0]):
        norms[j] = 0.0
    for i in range(value.shape[0]):
        row = value[i]
        for j in range(norms.shape[0]):
            norms[j] += row[j] * row[j]
    for j in range(norms.shape[0]):
        norm = np.sqrt(norms[j])
        norms[j] = max_norm / norm if norm > max_norm else 1.0
    for i in range(value.shape[0]):
        row = value[i]
        for j in range(norms.shape[0]):
            row[j] *= norms[j]


def limit_rows(value, max_norm):
    """Scale the rows of a matrix down whose Euclidean norm is above the limit."""
    for i in range(value.shape[0]):
        row, total = value[i], value[i, 0] * 0.0
        for j in range(row.shape[0]):
            total += row[j] * row[j]
        norm = np.sqrt(total)
        if norm > max_norm:
            for j in range(row.shape[0]):
                row[j] *= max_norm / norm


def blend(average, value, share):
    """Move a mean by this share towards the present numbers; a share of 0 is that of a step that does not count."""
    if share != 0.0:
        for i in range(average.shape[0]):
            average[i] += share * (value[i] - average[i])


def note(number, out):
    """Write a number down where others read it."""
    out[0] = number


def rest():
    """Nothing: where others have something to do."""


def add(a, b, factor, out):
    """Out = (a + b) * factor."""
    for i in range(out.shape[0]):
        out[i] = (a[i] + b[i]) * factor


def scale(source, factor, out):
    """Out = source * factor."""
    for i in range(out.shape[0]):
        out[i] = source[i] * factor


def copy_columns(whole, begin, part, joins):
    """Columns of a matrix that begin at ``begin``: with ``joins`` they become ``part``, else ``part`` becomes they."""
    for n in range(whole.shape[0]):
        columns, row = whole[n, begin : begin + part.shape[1]], part[n]
        if joins:
            for j in range(row.shape[0]):
                columns[j] = row[j]
        else:
            for j in range(row.shape[0]):
                row[j] = columns[j]
