"""Parts that are wrong on purpose, each in one thing, which is found and named; and right parts, easily taken for wrong."""

import re

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels.math import exp, log, real, tanh
from nnkit.kernels.random import uniform_bits
from nnkit.testing import (
    CheckError,
    check_activation,
    check_layer,
    check_loss,
    check_optimizer,
    layers,
    losses,
    optimizers,
    others,
)
from nnkit.testing.checks import checks_of
from nnkit.testing.part import pickle_round_trip, repr_can_be_typed_back_in

ANYWHERE = r"\d+(, \d+)*"


def wrong(kernel, array, at, cause="", count=r"\d+", fault="differ"):
    """The message about wrong numbers, to its end: ``count`` of them, the worst ``at`` an index, and the likely cause."""
    because = f"; likely cause: {re.escape(cause)}" if cause else ""
    return rf"{kernel} gives a wrong {array}: at \[{at}\] expected .* \({count} of \d+ numbers {fault}\){because}$"


def out_of_range(kernel, line, subscript, at, shape):
    """The message about an index that does not fit its array: the line, the subscript in it, the index, the shape."""
    return re.escape(f"{kernel} fails at `{line}`: {subscript} is out of range, at {at} of shape {shape}; IndexError: ")


# ------------------------------------------------------------------------------------------------ wrong activations


class WrongSign(nn.Activation):
    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def backward(grad_out, x):
        return -2.0 * x * grad_out


class GivesMoreThanItSays(nn.Activation):
    gives = nn.Span(0.0, 1.0)

    @staticmethod
    def forward(x):
        return tanh(x)

    @staticmethod
    def backward(grad_out, out):
        return grad_out * (1.0 - out * out)


class GivesLessThanItSays(GivesMoreThanItSays):
    gives = nn.Span(-1.0, 2.0)


class HalfTheDerivative(nn.Activation):
    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def backward(grad_out, x):
        return x * grad_out


class DerivativeOfTheWrongArgument(nn.Activation):
    """The derivative of exp is written in out, not in x."""

    @staticmethod
    def forward(x):
        return exp(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out * x

    high = 2.0


class ForgetsGradOut(nn.Activation):
    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def backward(grad_out, x):
        return 2.0 * x


class HidesNaN(nn.Activation):
    kinks = (0.0,)

    @staticmethod
    def forward(x):
        return x if x > 0.0 else 0.0

    @staticmethod
    def backward(grad_out, out):
        return grad_out if out > 0.0 else 0.0


class Overflows(nn.Activation):
    @staticmethod
    def forward(x):
        return np.log(1.0 + np.exp(x))

    @staticmethod
    def backward(grad_out, x):
        return grad_out / (1.0 + np.exp(-x))


class MissesAKink(nn.Activation):
    """Constant from 1.7 on, but its derivative is not."""

    kinks = (1.7,)

    @staticmethod
    def forward(x):
        return 1.7 if x > 1.7 else x

    @staticmethod
    def backward(grad_out):
        return grad_out


class WideActivation(nn.Activation):
    @staticmethod
    def forward(x):
        return np.float64(x) * x * x

    @staticmethod
    def backward(grad_out, x):
        return grad_out * 3.0 * x * x


# ----------------------------------------------------------------------------------------------------- wrong layers


class Scale(nn.Layer):
    """Right; most faults below break one thing of it."""

    def build(self, in_shape):
        self.parameter("scale", in_shape, init="ones")
        return in_shape

    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]

    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class Dense(nn.Layer):
    """Right; other faults break this one. Square, so that a missing transpose fits."""

    def build(self, in_shape):
        self.parameter("weight", (*in_shape, *in_shape), init="normal")
        self.parameter("bias", in_shape)
        return in_shape

    @staticmethod
    def forward(x, weight, bias, out):
        np.dot(x, weight, out)
        for n in range(x.shape[0]):
            for j in range(bias.shape[0]):
                out[n, j] += bias[j]

    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        np.dot(x.T, grad_out, grad_weight)
        grad_bias[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(grad_bias.shape[0]):
                grad_bias[j] += grad_out[n, j]

    @staticmethod
    def backward_x(weight, grad_out, grad_x):
        np.dot(grad_out, weight.T, grad_x)


class WeightGradientTransposed(Dense):
    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        np.dot(grad_out.T, x, grad_weight)
        grad_bias[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(grad_bias.shape[0]):
                grad_bias[j] += grad_out[n, j]


class MissingTranspose(Dense):
    @staticmethod
    def backward_x(weight, grad_out, grad_x):
        np.dot(grad_out, weight, grad_x)


class OneWeightOfWrongSign(Dense):
    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        np.dot(x.T, grad_out, grad_weight)
        grad_weight[1, 0] = -grad_weight[1, 0]
        grad_bias[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(grad_bias.shape[0]):
                grad_bias[j] += grad_out[n, j]


class LeavesTheBiasGradient(Dense):
    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        np.dot(x.T, grad_out, grad_weight)


class LeavesOneBiasGradient(Dense):
    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        np.dot(x.T, grad_out, grad_weight)
        grad_bias[:-1] = 0.0
        for n in range(x.shape[0]):
            for j in range(grad_bias.shape[0] - 1):
                grad_bias[j] += grad_out[n, j]


class DoesNotNameTheBiasGradient(Dense):
    @staticmethod
    def backward(x, grad_out, grad_weight):
        np.dot(x.T, grad_out, grad_weight)


class SkipsTheFirstColumn(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        grad_x[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
            for j in range(1, x.shape[1]):
                grad_x[n, j] = grad_out[n, j] * scale[j]


class OneColumnWrong(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
        grad_scale[2] *= 1.5


class OneRowWrong(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
                if n == 3:
                    grad_x[n, j] += 1.0


class OneNumberWrong(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
                if n == 3 and j == 2:
                    grad_x[n, j] = 0.0


class AveragesOverTheRows(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j] / real(x.shape[0])
                grad_x[n, j] = grad_out[n, j] * scale[j]


class OnlyTheLastRowCounts(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] = grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class AddsTwice(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class AddsWithoutZeroing(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class AddsToGradX(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] += grad_out[n, j] * scale[j]


class WritesOverOneX(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]
        x[0, 1] = 0.0


class WritesOverOneGradOut(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
        grad_out[0, 3] = 0.0


class WritesOverOut(Scale):
    @staticmethod
    def backward(x, out, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
        out[0, 4] = 0.0


class WritesOverAParameter(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]
        scale[3] = 1.0


class ReadsUnwrittenScratch(Scale):
    def build(self, in_shape):
        self.scratch("work", in_shape)
        return super().build(in_shape)

    @staticmethod
    def forward(x, scale, work, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                work[n, j] += x[n, j] * scale[j]
                out[n, j] = work[n, j]


class ReadsOneUnwrittenNumber(Scale):
    def build(self, in_shape):
        self.scratch("shifted", in_shape)
        return super().build(in_shape)

    @staticmethod
    def forward(x, scale, shifted, out):
        for n in range(x.shape[0]):
            for j in range(1, x.shape[1]):
                shifted[n, j - 1] = x[n, j] * scale[j]
            out[n, 0] = x[n, 0] * scale[0]
            for j in range(1, x.shape[1]):
                out[n, j] = shifted[n, j - 1]
            out[n, 4] += shifted[n, 4]


class PromisesAColumnMore(Scale):
    def build(self, in_shape):
        super().build(in_shape)
        return (in_shape[0] + 1,)


class PromisesAColumnLess(Scale):
    def build(self, in_shape):
        super().build(in_shape)
        return (in_shape[0] - 1,)


class ReadsBeyondTheRow(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j + 1] * scale[j]


class CountsTheWrongAxis(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[1]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class MixesRowsInSecret(Scale):
    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j]
        if x.shape[0] > 1:
            out[0, 2] += x[1, 2]

    @staticmethod
    def backward(grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j]
        if grad_x.shape[0] > 1:
            grad_x[1, 2] += grad_out[0, 2]


class Allocates(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            row = x[n].copy()
            for j in range(x.shape[1]):
                out[n, j] = row[j] * scale[j]


class WideLayer(Scale):
    """NumPy and Numba divide float32 by an integer in float64."""

    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j] / x.shape[1]

    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j] / real(x.shape[1])
                grad_x[n, j] = grad_out[n, j] * scale[j] / real(x.shape[1])


class DiffersWhenCompiled(nn.Layer):
    """NumPy's 32-bit integers wrap around, Numba's become 64-bit ones."""

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] if np.uint32(j) * np.uint32(2**30) < 2**32 else 0.0

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j] if np.uint32(j) * np.uint32(2**30) < 2**32 else 0.0


class WritesBeyondItsRows(Scale):
    @staticmethod
    def forward(x, scale, out):
        whole = np.lib.stride_tricks.as_strided(out, (x.shape[0] + 1, x.shape[1]), out.strides)
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]
        whole[x.shape[0], 0] = 1.0


class WritesBeyondItsGradient(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        longer = np.lib.stride_tricks.as_strided(grad_scale, (x.shape[1] + 1,), grad_scale.strides)
        longer[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


# --------------------------------------------------------------------------------------------- wrong random numbers


class Drop(nn.Layer):
    """Right; the faults below each break one thing of it."""

    def build(self, in_shape):
        (self.width,) = in_shape
        return in_shape

    @staticmethod
    def forward(x, training, seed, first_row, width, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                dropped = training and uniform_bits(seed, (first_row + n) * width + j) < 2**31
                out[n, j] = 0.0 if dropped else x[n, j]

    @staticmethod
    def backward(grad_out, training, seed, first_row, width, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                dropped = training and uniform_bits(seed, (first_row + n) * width + j) < 2**31
                grad_x[n, j] = 0.0 if dropped else grad_out[n, j]


class DropsInEvaluation(Drop):
    @staticmethod
    def forward(x, seed, first_row, width, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                dropped = uniform_bits(seed, (first_row + n) * width + j) < 2**31
                out[n, j] = 0.0 if dropped else x[n, j]

    @staticmethod
    def backward(grad_out, seed, first_row, width, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                dropped = uniform_bits(seed, (first_row + n) * width + j) < 2**31
                grad_x[n, j] = 0.0 if dropped else grad_out[n, j]


class BackwardIgnoresTraining(Drop):
    @staticmethod
    def backward(grad_out, seed, first_row, width, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                dropped = uniform_bits(seed, (first_row + n) * width + j) < 2**31
                grad_x[n, j] = 0.0 if dropped else grad_out[n, j]


class AnotherMaskInBackward(Drop):
    @staticmethod
    def backward(grad_out, training, seed, first_row, width, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                dropped = training and uniform_bits(seed + 1, (first_row + n) * width + j) < 2**31
                grad_x[n, j] = 0.0 if dropped else grad_out[n, j]


class MaskOfTheShard(Drop):
    @staticmethod
    def forward(x, training, seed, width, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = 0.0 if training and uniform_bits(seed, n * width + j) < 2**31 else x[n, j]

    @staticmethod
    def backward(grad_out, training, seed, width, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = 0.0 if training and uniform_bits(seed, n * width + j) < 2**31 else grad_out[n, j]


class MaskOfNumPy(Drop):
    """Draws a mask that no seed determines; keeps it, so that backward has the same."""

    def build(self, in_shape):
        self.scratch("mask", in_shape)
        return super().build(in_shape)

    @staticmethod
    def forward(x, mask, training, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                mask[n, j] = 0.0 if training and np.random.random() < 0.5 else 1.0
                out[n, j] = x[n, j] * mask[n, j]

    @staticmethod
    def backward(mask, grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j] * mask[n, j]


# ---------------------------------------------------------------------------------------------- wrong Python layers


class RemembersOnTheClass(nn.PythonLayer):
    seen = {}  # noqa: RUF012 - the fault

    def forward(self, x):
        self.seen["x"] = x.copy()
        return x * x

    def backward(self, grad_out):
        return 2.0 * self.seen["x"] * grad_out


class CopiesShareADict(nn.PythonLayer):
    def __init__(self):
        self.seen = {}

    def forward(self, x):
        self.seen["x"] = x.copy()
        return x * x

    def backward(self, grad_out):
        return 2.0 * self.seen["x"] * grad_out


class WritesOverXInBackward(Scale):
    """What the layer before has kept."""

    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]
                x[n, j] = 0.0


class WritesOverScratchInBackward(Scale):
    """What forward has left for backward: a second one finds something else."""

    def build(self, in_shape):
        self.scratch("kept", in_shape)
        return super().build(in_shape)

    @staticmethod
    def forward(x, scale, kept, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                kept[n, j] = x[n, j]
                out[n, j] = x[n, j] * scale[j]

    @staticmethod
    def backward(kept, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(kept.shape[0]):
            for j in range(kept.shape[1]):
                grad_x[n, j] = grad_out[n, j] * scale[j]
                kept[n, j] *= grad_out[n, j]
                grad_scale[j] += kept[n, j]


class OwnMeanOnly(nn.Layer):
    """out = x - the mean of the batch: of the whole one, says the class, but its kernels look at their shard alone."""

    mixes_rows = True

    def build(self, in_shape):
        self.partial("sums", in_shape)
        return in_shape

    @staticmethod
    def forward_partial(x, sums):
        sums[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                sums[j] += x[n, j]

    @staticmethod
    def forward(x, sums, training, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] - sums[j] / x.shape[0] if training else x[n, j]

    @staticmethod
    def backward_partial(grad_out, sums):
        sums[:] = 0.0
        for n in range(grad_out.shape[0]):
            for j in range(grad_out.shape[1]):
                sums[j] += grad_out[n, j]

    @staticmethod
    def backward(grad_out, sums, training, grad_x):
        for n in range(grad_out.shape[0]):
            for j in range(grad_out.shape[1]):
                grad_x[n, j] = grad_out[n, j] - sums[j] / grad_out.shape[0] if training else grad_out[n, j]


class SumsInPlace(nn.Layer):
    """Says that it may work in place, and reads its left neighbour when that is gone."""

    inplace = True

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            out[n, 0] = x[n, 0]
            for j in range(1, x.shape[1]):
                out[n, j] = x[n, j] + x[n, j - 1]

    @staticmethod
    def backward(grad_out, grad_x):
        last = grad_x.shape[1] - 1
        for n in range(grad_x.shape[0]):
            for j in range(last):
                grad_x[n, j] = grad_out[n, j] + grad_out[n, j + 1]
            grad_x[n, last] = grad_out[n, last]


class CountsInEvaluation(Scale):
    def build(self, in_shape):
        self.state("calls", (1,))
        return super().build(in_shape)

    @staticmethod
    def forward(x, scale, calls, out):
        calls[0] += 1.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]


class MixesInEvaluation(Scale):
    """May mix rows in training, but not in evaluation."""

    mixes_rows = True

    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j] / x.shape[0]


class FourRowsOnly(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j] if n < 4 else 0.0


class RoughInFloat32(nn.PythonLayer):
    def forward(self, x):
        return 2 * (np.round(x, 1) if x.dtype == np.float32 else x)

    def backward(self, grad_out):
        return 2 * grad_out


class ReadsBeyondItsRows(Scale):
    @staticmethod
    def forward(x, scale, out):
        whole = np.lib.stride_tricks.as_strided(x, (x.shape[0] + 1, x.shape[1]), x.strides)
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j] + whole[x.shape[0], j]


class OverflowsInTheMiddle(nn.Activation):
    @staticmethod
    def forward(x):
        return x if x > 1000.0 else np.log(1.0 + np.exp(x))

    @staticmethod
    def backward(grad_out, x):
        return grad_out / (1.0 + np.exp(-x))


class ParameterGradientInBackwardX(Scale):
    """Which is not run where nobody needs the gradient of the input."""

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = 0.0

    @staticmethod
    def backward_x(x, scale, grad_out, grad_x, grad_scale):
        Scale.backward(x, scale, grad_out, grad_x, grad_scale)


class NoiseOfNumPy(nn.PythonLayer):
    def forward(self, x, training):
        return x + np.random.normal(size=x.shape) if training else x.copy()

    def backward(self, grad_out):
        return grad_out.copy()


class ReturnsTheRows(nn.PythonLayer):
    def forward(self, x):
        return x.sum(axis=1)

    def backward(self, grad_out, x):
        return np.ones_like(x) * grad_out


class ReturnsNothing(nn.PythonLayer):
    def forward(self, x):
        return x * x

    def backward(self, grad_out, x):
        grad_out * 2 * x


class RaisesInBackward(nn.PythonLayer):
    def forward(self, x):
        return x * x

    def backward(self, grad_out, x):
        return grad_out @ x


# ----------------------------------------------------------------------------------------------- not what it stores


class LosesAnArgument(Scale):
    def __init__(self, gain=1.0):
        self.gain = 2.0 * gain


class CannotBePickled(Scale):
    def __init__(self, gain=1.0):
        self.gain = gain
        self.work_out = lambda x: gain * x


# ----------------------------------------------------------------------------------------------------- wrong losses


class WrongValue(nn.Loss):
    """The gradient is right for half of it."""

    @staticmethod
    def forward(prediction, target):
        return (prediction - target) * (prediction - target)

    @staticmethod
    def backward(prediction, target):
        return prediction - target


class DerivativeByTheTarget(nn.Loss):
    @staticmethod
    def forward(prediction, target):
        return prediction * prediction * target

    @staticmethod
    def backward(prediction, target):
        return prediction * prediction


class Product(nn.Loss):
    """Right; the faults below each break one thing of it."""

    rowwise = True

    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += prediction[k] * prediction[k] * target[k]
        return total

    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 2.0 * prediction[k] * target[k]


class BackwardDividesByTheRow(Product):
    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 2.0 * prediction[k] * target[k] / real(prediction.shape[0])


class ForwardDividesByTheRow(Product):
    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += prediction[k] * prediction[k] * target[k]
        return total / real(prediction.shape[0])


class OneColumnOfALossWrong(Product):
    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 2.0 * prediction[k] * target[k]
        grad_prediction[2] = 100.0


class LeavesTheLastNumber(Product):
    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0] - 1):
            grad_prediction[k] = 2.0 * prediction[k] * target[k]


class ReadsBeyondTheTarget(Product):
    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += prediction[k] * prediction[k] * target[k + 1]
        return total


class WideLoss(nn.MSELoss):
    @staticmethod
    def forward(prediction, target):
        return (np.float64(prediction) - target) * (prediction - target)


class EndsAtTheFirstWeightlessRow(Product):
    """Where it should go on with the next one."""

    @staticmethod
    def fused(prediction, target, weight, grad, row_loss):
        for n in range(prediction.shape[0]):
            if weight[n] == 0.0:
                break
            row_loss[n] = 0.0
            for k in range(prediction.shape[1]):
                row_loss[n] += prediction[n, k] * prediction[n, k] * target[n, k]
                grad[n, k] = 2.0 * weight[n] * prediction[n, k] * target[n, k]


class FusedGivesAnotherValue(Product):
    @staticmethod
    def fused(prediction, target, weight, grad, row_loss):
        for n in range(prediction.shape[0]):
            row_loss[n] = 0.0
            for k in range(prediction.shape[1]):
                row_loss[n] += prediction[n, k] * target[n, k]
                grad[n, k] = 2.0 * weight[n] * prediction[n, k] * target[n, k]


class LooksLabelsUpAlone(nn.Loss):
    """Right for class labels, wrong for rows of probabilities."""

    rowwise = classes = True

    @staticmethod
    def forward(prediction, target, label):
        return target[0] * prediction[label] * prediction[label]

    @staticmethod
    def backward(prediction, target, label, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        grad_prediction[label] = 2.0 * target[0] * prediction[label]


class TakesEveryLabelForTheFirst(LooksLabelsUpAlone):
    """Right for rows of probabilities, wrong for class labels."""

    @staticmethod
    def forward(prediction, target, label):
        total = 0.0
        for k in range(target.shape[0]):
            total += target[k] * prediction[k] * prediction[k]
        return total

    @staticmethod
    def backward(prediction, target, label, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        for k in range(target.shape[0]):
            grad_prediction[k] = 2.0 * target[k] * prediction[k]


class ForgetsSharesInItsGradient(TakesEveryLabelForTheFirst):
    """The gradient is right where a row of targets has one class."""

    @staticmethod
    def forward(prediction, target, label):
        total = 0.0
        for i in range(target.shape[0]):
            total += target[i] * prediction[label + i] * prediction[label + i]
        return total

    @staticmethod
    def backward(prediction, target, label, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        for i in range(target.shape[0]):
            if target[i] > 0.0:
                grad_prediction[label + i] = 2.0 * prediction[label + i]


class WrongGradientInNumPy(nn.PythonLoss):
    def forward(self, prediction, target):
        return (prediction - target) ** 4

    def backward(self, prediction, target):
        gradient = 4 * (prediction - target) ** 3
        gradient[-1, 1] = 1000.0
        return gradient


class AveragesInNumPy(nn.PythonLoss):
    """Forward and backward agree, but the mean over the rows is not theirs to take."""

    def forward(self, prediction, target):
        return (prediction - target) ** 2 / len(prediction)

    def backward(self, prediction, target):
        return 2 * (prediction - target) / len(prediction)


class GivesNothingForOneRow(nn.PythonLoss):
    def forward(self, prediction, target):
        return (prediction - target) ** 2 * min(len(prediction) - 1, 1)

    def backward(self, prediction, target):
        return 2 * (prediction - target) * min(len(prediction) - 1, 1)


class ReturnsAScalar(nn.PythonLoss):
    def forward(self, prediction, target):
        return ((prediction - target) ** 2).sum()

    def backward(self, prediction, target):
        return 2 * (prediction - target)


class WritesOverTheTarget(nn.PythonLoss):
    def forward(self, prediction, target):
        return (prediction - target) ** 2

    def backward(self, prediction, target):
        grad = 2 * (prediction - target)
        target[1, 2] = 9.0
        return grad


class NoisyLoss(nn.PythonLoss):
    def forward(self, prediction, target):
        return (prediction - target) ** 2 + np.random.random(prediction.shape)

    def backward(self, prediction, target):
        return 2 * (prediction - target)


# ------------------------------------------------------------------------------------------------- wrong optimizers


class Ascends(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] += lr * grad[i]


class StandsStill(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= 1e-6 * lr * grad[i]


class DecaysByChunk(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        value[0] *= 0.9
        for i in range(value.shape[0]):
            value[i] -= lr * grad[i]


class MovesThePadding(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= lr if grad[i] >= 0.0 else -lr


class DividesByTheGradient(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= 0.1 * lr * grad[i] / abs(grad[i])


class UpdateDiffersWhenCompiled(nn.SGD):
    """NumPy's 32-bit integers wrap around, Numba's become 64-bit ones."""

    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            if np.uint32(i) * np.uint32(2**28) < 2**32:
                value[i] -= lr * grad[i]


class WritesOverTheGradient(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= lr * grad[i]
        grad[3] = 0.0


class WideOptimizer(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= lr * grad[i] / np.sqrt(np.float64(4.0))


class ReadsBeyondTheChunk(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= lr * grad[i + 1]


class IgnoresTheRate(nn.SGD):
    @staticmethod
    def update(value, grad):
        for i in range(value.shape[0]):
            value[i] -= 0.01 * grad[i]


class CoefficientsOfTheFirstStep(nn.SGD):
    def coefficients(self, lr, step):
        return {"rate": lr * np.minimum(1.0, step[0] / 3.0)}

    @staticmethod
    def update(value, grad, rate):
        for i in range(value.shape[0]):
            value[i] -= rate * grad[i]


class DecaysTwice(nn.SGD):
    @staticmethod
    def update(value, grad, lr, weight_decay):
        for i in range(value.shape[0]):
            value[i] -= lr * (grad[i] + weight_decay * value[i])


class CountsItsSteps(nn.SGD):
    """Keeps what depends on the past on itself, where two models share it."""

    steps_so_far = 0

    def coefficients(self, lr, step):
        self.steps_so_far += len(step)
        return {"rate": lr / self.steps_so_far}

    @staticmethod
    def update(value, grad, rate):
        for i in range(value.shape[0]):
            value[i] -= rate * grad[i]


# -------------------------------------------------------------------------------- wrong initializers and schedules


class DrawsFromTheGlobalGenerator(nn.Initializer):
    def __call__(self, shape, random):
        return np.random.uniform(-1.0, 1.0, shape)


class FillsAnotherShape(nn.Initializer):
    def __call__(self, shape, random):
        return random.uniform(-1.0, 1.0, shape[::-1])


class FillsWithInfinity(nn.Initializer):
    def __call__(self, shape, random):
        array = np.ones(shape)
        array.flat[-1:] = np.inf
        return array


class RisesAbove1(nn.Schedule):
    def factor(self, epoch, epochs):
        return 0.5 + epoch / epochs


class EndsNotFinite(nn.Schedule):
    def factor(self, epoch, epochs):
        return np.where(epoch < 5.0, 1.0, np.nan)


class DependsOnOtherTimes(nn.Schedule):
    def factor(self, epoch, epochs):
        return 1.0 - epoch / (epoch.max() + 1.0)


class WritesOverTheTimes(nn.Schedule):
    def factor(self, epoch, epochs):
        epoch /= epochs
        return 1.0 - epoch


class GivesFloat32(nn.Schedule):
    def factor(self, epoch, epochs):
        return np.ones_like(epoch, np.float32)


# ---------------------------------------------------------------------------------------------- each fault is named

NO_GRAD_OUT = "it does not depend on grad_out; multiply by it"
OVERFLOW = ("an exponential or a power overflows (take exp of -abs(x), or tanh, sigmoid of nnkit.kernels.math), "
            "or x is out of the domain that it should declare")
FIRST_OF_ROW = "all numbers but the first of each row are right: does the loop begin and end where it should?"
AVERAGED = "it is averaged over the rows; add them up, the loss does the averaging"
ADDED_UP = "the rows' gradients are to be added up (+=), neither averaged nor replaced"
LAST_ROW = "only the last row of the batch counts; add up over the rows (+=)"
NOT_WRITTEN = "a number is left unwritten, or added to (+=) before it was set to 0"
UNWRITTEN = "a number is left unwritten, or memory is read (or added to) before it is written"
OVERWRITTEN = "backward overwrites what it reads; a second backward must find what forward has left"
IN_PLACE = "it works in place; a kernel may write to what it gives (out, grad_x, grad_...), scratch and states only"
MIXED = "a row depends on others of the batch, or on their number; mixes_rows = True allows that, in training only"
OVER_ITSELF = "inplace = True, but it reads numbers that it has written over by then"
NOT_NAMED = "it reads memory that it has not named, or writes to memory that is not its to change"
RANDOM_ALWAYS = "it is random out of training, too; name training and ask it"
DRAWS = "the kernel draws numbers of its own, or remembers; draw them from seed (nnkit.kernels.random)"
OF_THE_SHARD = "random numbers depend on the shard; count rows from first_row"
SHARED = "something is kept on the class, in a global, or in a container that copies of the layer share"
BY_THE_TARGET = "it is the derivative by the target, not by the prediction (or the sign is wrong)"
OF_THE_ROW = "it is averaged over the numbers of a row; reduction is the framework's, forward and backward are of one term each"
CHECK_BOTH = "backward is not the derivative of the value that forward gives: check both"
ROWS_DEPEND = "weights are left out, or rows depend on each other or on how many there are"
LOSS_DRAWS = "it draws numbers of its own, or remembers"
ZERO_STEP = "it moves numbers whose gradient is 0; their step must be 0"
BY_CHUNK = "it treats a chunk as a whole; update must do to each number what it does to the others"
HOLD_IT = "it works in place; a declared state can hold what it computes"
KEPT = "something is kept outside of the declared states, or drawn at random"
OTHER_SOURCE = "it draws from another source than the generator that it is given"
WIDE = "for float32 computes in float64; an integer \\(write 2.0, not 2\\), a constant or a NumPy call widens it$"
COMPILED = "compiled code rounds differently or does something else: integer arithmetic, a NumPy function"
OTHER_TIMES = "it depends on the other times that are asked for"

class LineOfSixteen(nn.Layer):
    """Right for rows of up to 16 numbers."""

    def build(self, in_shape):
        self.workspace("line", (16,))
        return in_shape

    @staticmethod
    def forward(x, line, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                line[j] = x[n, j]
            for j in range(x.shape[1]):
                out[n, j] = line[j]

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = grad_out


FAULTS = [
    (WrongSign(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", ANYWHERE, "the sign is wrong", 48)),
    (HalfTheDerivative(), layers.gradients_are_the_derivatives,
     wrong("backward", "grad_x", ANYWHERE, "it is 0.5 times what it should be", 48)),
    (DerivativeOfTheWrongArgument(), layers.gradients_are_the_derivatives,
     wrong("backward", "grad_x", ANYWHERE, "it would be right with out in place of x")),
    (ForgetsGradOut(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", ANYWHERE, NO_GRAD_OUT)),
    (MissesAKink(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", ANYWHERE)),
    (HidesNaN(), layers.nan_stays_nan, "forward makes numbers of NaN in float32; a comparison with NaN is false"),
    (Overflows(), layers.large_inputs_stay_finite,
     wrong("forward", "out", "0, 1, 1", OVERFLOW, 16, fault="are not finite")),
    (GivesMoreThanItSays(), layers.outputs_are_what_it_says, "gives is numbers from 0 to 1, but outputs are from -1 to 1"),
    (GivesLessThanItSays(), layers.outputs_are_what_it_says, "numbers from -1 to 2, but outputs are from -1 to 1 alone"),
    (WideActivation(), layers.float32_stays_float32, f"forward {WIDE}"),

    (WeightGradientTransposed(), layers.gradients_are_the_derivatives,
     wrong("backward", "grad_weight", ANYWHERE, "it is transposed", 20)),
    (MissingTranspose(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", ANYWHERE, count=20)),
    (OneWeightOfWrongSign(), layers.gradients_are_the_derivatives, wrong("backward", "grad_weight", "1, 0", count=1)),
    (LeavesTheBiasGradient(), layers.gradients_are_the_derivatives, wrong("backward", "grad_bias", "0", NOT_WRITTEN, 5)),
    (LeavesOneBiasGradient(), layers.gradients_are_the_derivatives, wrong("backward", "grad_bias", "4", NOT_WRITTEN, 1)),
    (LeavesOneBiasGradient(), layers.nothing_unwritten_is_read,
     wrong("backward", "grad_bias", "4", UNWRITTEN, 1, fault="are not finite")),
    (SkipsTheFirstColumn(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", r"\d, 0", FIRST_OF_ROW, 4)),
    (OneColumnWrong(), layers.gradients_are_the_derivatives, wrong("backward", "grad_scale", "2", count=1)),
    (OneRowWrong(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", r"3, \d", count=5)),
    (OneNumberWrong(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", "3, 2", count=1)),
    (AveragesOverTheRows(), layers.gradients_are_the_derivatives, wrong("backward", "grad_scale", r"\d", AVERAGED, 5)),
    (AveragesOverTheRows(), layers.batch_equals_rows, wrong("backward", "grad_scale", r"\d", ADDED_UP, 5)),
    (OnlyTheLastRowCounts(), layers.gradients_are_the_derivatives, wrong("backward", "grad_scale", r"\d", LAST_ROW, 5)),
    (OnlyTheLastRowCounts(), layers.batch_equals_rows, wrong("backward", "grad_scale", r"\d", ADDED_UP, 5)),
    (AddsTwice(), layers.gradients_are_the_derivatives,
     wrong("backward", "grad_scale", r"\d", "it is 2 times what it should be", 5)),
    (AddsWithoutZeroing(), layers.gradients_are_the_derivatives, wrong("backward", "grad_scale", "0", NOT_WRITTEN, 5)),
    (AddsToGradX(), layers.nothing_unwritten_is_read, wrong("backward", "grad_x", "0, 0", UNWRITTEN, 20)),
    (WritesOverOneX(), layers.inputs_stay_as_they_are, wrong("forward", "x", "0, 1", IN_PLACE, 1)),
    (WritesOverOneGradOut(), layers.inputs_stay_as_they_are, wrong("backward", "grad_out", "0, 3", IN_PLACE, 1)),
    (WritesOverOut(), layers.inputs_stay_as_they_are, wrong("backward", "out", "0, 4", IN_PLACE, 1)),
    (WritesOverAParameter(), layers.inputs_stay_as_they_are, wrong("a kernel", "scale", "3", IN_PLACE, 1)),
    (ReadsUnwrittenScratch(), layers.nothing_unwritten_is_read, wrong("forward", "out", "0, 0", UNWRITTEN, 20)),
    (ReadsOneUnwrittenNumber(), layers.nothing_unwritten_is_read, wrong("forward", "out", "0, 4", UNWRITTEN, 4)),
    (PromisesAColumnMore(), layers.nothing_unwritten_is_read, wrong("forward", "out", "0, 5", UNWRITTEN, 4)),
    (PromisesAColumnLess(), layers.indices_are_in_range,
     out_of_range("forward", "out[n, j] = x[n, j] * scale[j]", "out[n, j]", [0, 4], (4, 4))),
    (ReadsBeyondTheRow(), layers.indices_are_in_range,
     out_of_range("forward", "out[n, j] = x[n, j + 1] * scale[j]", "x[n, j + 1]", [0, 5], (4, 5))),
    (CountsTheWrongAxis(), layers.indices_are_in_range,
     out_of_range("backward", "grad_scale[j] += grad_out[n, j] * x[n, j]", "x[n, j]", [4, 0], (4, 5))),
    (MixesRowsInSecret(), layers.batch_equals_rows, wrong("forward", "out", r"\d+, 2", MIXED)),
    (Allocates(), layers.float32_stays_float32, "forward allocates memory; write into out and declared scratch arrays"),
    (WideLayer(), layers.float32_stays_float32, f"forward {WIDE}"),
    (DiffersWhenCompiled(), layers.compiled_equals_uncompiled, wrong("forward", "out", r"\d, 4", COMPILED, 4)),
    (LineOfSixteen(), layers.wide_rows_are_computed_alike,
     out_of_range("forward", "line[j] = x[n, j]", "line[j]", [16], (16,))),
    (WritesBeyondItsRows(), layers.only_these_rows_are_written, "forward writes to out beyond the rows of the batch$"),
    (WritesBeyondItsGradient(), layers.only_these_rows_are_written, "backward writes beyond its parameters' gradients$"),

    (DropsInEvaluation(), layers.randomness_follows_the_seed, wrong("forward", "out", ANYWHERE, RANDOM_ALWAYS)),
    (BackwardIgnoresTraining(), layers.gradients_are_the_derivatives, wrong("backward, out of training,", "grad_x", ANYWHERE)),
    (AnotherMaskInBackward(), layers.gradients_are_the_derivatives, wrong("backward", "grad_x", ANYWHERE)),
    (MaskOfTheShard(), layers.shards_and_threads_do_not_matter, wrong("forward", "out", r"[23], \d", OF_THE_SHARD)),
    (MaskOfNumPy(), layers.randomness_follows_the_seed, wrong("forward", "out", ANYWHERE, DRAWS)),

    (RemembersOnTheClass(), layers.passes_do_not_disturb_each_other, wrong("backward", "grad_x", ANYWHERE, SHARED, 20)),
    (CopiesShareADict(), layers.passes_do_not_disturb_each_other, wrong("backward", "grad_x", ANYWHERE, SHARED, 20)),
    (ReadsBeyondItsRows(), layers.neighbours_do_not_matter, wrong("forward", "out", ANYWHERE, NOT_NAMED)),
    (WritesOverXInBackward(), layers.inputs_stay_as_they_are, wrong("backward", "x", ANYWHERE, IN_PLACE, 20)),
    (WritesOverScratchInBackward(), layers.passes_do_not_disturb_each_other,
     wrong("backward", "grad_scale", ANYWHERE, OVERWRITTEN)),
    (OwnMeanOnly(), layers.shards_and_threads_do_not_matter, "OwnMeanOnly"),
    (SumsInPlace(), layers.nothing_unwritten_is_read, wrong("forward", "out", r"\d, [2-4]", OVER_ITSELF, 12)),
    (CountsInEvaluation(), layers.inputs_stay_as_they_are,
     wrong("forward, out of training,", "calls", "0", "it changes a state out of training; name training and ask it", 1)),
    (MixesInEvaluation(), layers.batch_equals_rows, wrong("forward", "out", ANYWHERE, MIXED, 115)),
    (FourRowsOnly(), layers.batch_equals_rows, wrong("forward", "out", ANYWHERE, MIXED)),
    (RoughInFloat32(), layers.compiled_equals_uncompiled,
     wrong("forward in float32", "out", ANYWHERE, "in float32 it loses its digits: large numbers that cancel out")),
    (OverflowsInTheMiddle(), layers.large_inputs_stay_finite,
     wrong("forward", "out", ANYWHERE, OVERFLOW, fault="are not finite")),
    (NoiseOfNumPy(), layers.randomness_follows_the_seed, wrong("forward", "out", ANYWHERE, DRAWS, 20)),
    (ReturnsTheRows(), layers.indices_are_in_range,
     r"expected forward to return the output, shape \(4, 5\), got shape \(4,\)$"),
    (ReturnsNothing(), layers.indices_are_in_range,
     r"expected backward to return the gradient of the input, shape \(4, 5\), got None$"),
    (RaisesInBackward(), layers.indices_are_in_range, "backward fails at `return grad_out @ x`: ValueError: "),
    (LosesAnArgument(3.0), repr_can_be_typed_back_in, r"makes another part, LosesAnArgument\(gain=12.0\); store arguments as"),
    (CannotBePickled(), pickle_round_trip, "cannot be pickled .*; store numbers, names and parts only$"),

    (WrongValue(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", ANYWHERE, "it is 0.5 times what it should be", 16)),
    (DerivativeByTheTarget(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", ANYWHERE, BY_THE_TARGET, 16)),
    (BackwardDividesByTheRow(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", ANYWHERE, OF_THE_ROW, 16)),
    (ForwardDividesByTheRow(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", ANYWHERE, "forward averages over the numbers of a row, backward does not", 16)),
    (OneColumnOfALossWrong(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", r"\d, 2", CHECK_BOTH, 4)),
    (LeavesTheLastNumber(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", "0, 3", NOT_WRITTEN, 4)),
    (ReadsBeyondTheTarget(), losses.loss_indices_are_in_range,
     out_of_range("forward", "total += prediction[k] * prediction[k] * target[k + 1]", "target[k + 1]", [4], (4,))),
    (WideLoss(), losses.loss_float32_stays_float32, f"loss {WIDE}"),
    (EndsAtTheFirstWeightlessRow(), losses.weightless_rows_do_not_matter, wrong("forward", "loss", "")),
    (FusedGivesAnotherValue(), losses.loss_compiled_equals_uncompiled, wrong("forward", "loss", "")),
    (LooksLabelsUpAlone(), losses.labels_equal_probabilities, wrong("forward", "loss", "")),
    (TakesEveryLabelForTheFirst(), losses.labels_equal_probabilities, wrong("forward", "loss", "")),
    (ForgetsSharesInItsGradient(), losses.probabilities_have_their_gradient, wrong("backward", "grad_prediction", r"\d, \d")),
    (WrongGradientInNumPy(), losses.loss_gradient_is_the_derivative,
     wrong("backward", "grad_prediction", "3, 1", CHECK_BOTH, 1)),
    (AveragesInNumPy(), losses.weights_equal_repetition, wrong("forward", "loss", "", ROWS_DEPEND)),
    (GivesNothingForOneRow(), losses.batch_of_one_is_a_row, wrong("forward", "loss", "")),
    (ReturnsAScalar(), losses.loss_indices_are_in_range,
     r"expected forward to return the losses, shape \(4, 4\), got shape \(\)$"),
    (NoisyLoss(), losses.losses_do_not_disturb_each_other, wrong("forward", "loss", "", LOSS_DRAWS)),

    (WritesOverTheTarget(), losses.losses_do_not_disturb_each_other,
     wrong("a kernel", "target", "1, 2", "it works in place; backward may write to grad_prediction only", 1)),
    (IgnoresTheRate(), optimizers.steps_follow_the_rate, r"whatever lr is; name lr \(or a coefficient of it\)$"),
    (CoefficientsOfTheFirstStep(), optimizers.coefficients_of_many_steps_equal_one_by_one,
     wrong("coefficients", "rate", "0", "it depends on the other steps that are asked for", 1)),
    (Ascends(), optimizers.update_descends,
     r"300 steps bring a quadratic from \d+ to \S+ only, at the best of four rates, \S+; likely cause: it goes up the gradient"
     ", the sign of the step is wrong$"),
    (StandsStill(), optimizers.update_descends,
     r"300 steps bring a quadratic from \d+ to \d+ only, at the best of four rates, 1$"),
    (DecaysByChunk(), optimizers.chunks_do_not_matter, wrong("update", "value", "(16|32|48|64|80)", BY_CHUNK, 5)),
    (MovesThePadding(), optimizers.padding_stays_zero, wrong("update", "value", r"96|97|\d+", ZERO_STEP, 32)),
    (DividesByTheGradient(), optimizers.padding_stays_zero,
     wrong("update", "value", r"96|97|\d+", ZERO_STEP, 32)),
    (UpdateDiffersWhenCompiled(), optimizers.update_compiled_equals_uncompiled, wrong("update", "value", r"\d+")),
    (WritesOverTheGradient(), optimizers.gradient_is_only_read, wrong("update", "grad", "(3|67)", HOLD_IT, 2)),
    (WideOptimizer(), optimizers.update_float32_stays_float32, f"update {WIDE}"),
    (ReadsBeyondTheChunk(), optimizers.update_indices_are_in_range,
     out_of_range("update", "value[i] -= lr * grad[i + 1]", "grad[i + 1]", [64], (64,))),
    (CountsItsSteps(), optimizers.walks_are_reproducible, wrong("update", "value", r"\d+", KEPT)),

    (DrawsFromTheGlobalGenerator(), others.shapes_are_filled_from_the_seed_alone,
     wrong("__call__", r"array of shape \(\)", "", OTHER_SOURCE)),
    (FillsAnotherShape(), others.shapes_are_filled_from_the_seed_alone, r"gives shape \(32, 64\), expected \(64, 32\)$"),
    (FillsWithInfinity(), others.shapes_are_filled_from_the_seed_alone,
     wrong("__call__", r"array of shape \(\)", "", count=1, fault="are not finite")),
    (RisesAbove1(), others.factor_is_between_0_and_1, r"factor is from 0.5 to 1.495, expected numbers in \[0, 1\], not all 0$"),
    (EndsNotFinite(), others.factor_is_between_0_and_1,
     wrong("factor", "factor", "100", count=100, fault="are not finite")),
    (DependsOnOtherTimes(), others.factor_of_many_times_equals_one_by_one, wrong("factor", "factor", r"\d+", OTHER_TIMES)),
    (WritesOverTheTimes(), others.factor_is_between_0_and_1,
     wrong("factor", "epoch", "199", "it works in place on the times that it is given", 199)),
    (GivesFloat32(), others.factor_is_between_0_and_1, "factor gives float32, expected float64$"),
]  # fmt: skip

CHECKERS = {"layer": check_layer, "activation": check_activation, "loss": check_loss, "optimizer": check_optimizer}
PUBLIC = list({type(part): part for part, *_ in FAULTS if part.registry.kind in CHECKERS}.values())


def example_of(part):
    """What the public checker of the part's kind checks it on."""
    if isinstance(part, nn.Activation):
        return nn.Example(part, (3, 4), part.low, part.high, part.kinks)
    if isinstance(part, nn.Loss):
        return nn.Example(part, (4,), part.prediction_low, part.prediction_high, part.kinks)
    return nn.Example(part)


@pytest.mark.parametrize(
    ("part", "check", "message"), FAULTS, ids=[f"{type(part).__name__}-{check.__name__}" for part, check, _ in FAULTS]
)
def test_planted_fault_is_caught_and_named(part, check, message):
    with pytest.raises(CheckError, match=message) as caught:
        check(example_of(part))
    assert repr(part) in str(caught.value)


@pytest.mark.parametrize("part", PUBLIC, ids=[type(part).__name__ for part in PUBLIC])
def test_public_checker_refuses_a_wrong_part(part):
    with pytest.raises(CheckError) as caught:
        CHECKERS[part.registry.kind](part)
    assert repr(part) in str(caught.value)


def test_a_parameter_gradient_that_backward_does_not_name_is_refused_at_build():
    with pytest.raises(nn.KernelError, match=r"^DoesNotNameTheBiasGradient\(\): expected backward to name .* grad_bias$"):
        check_layer(DoesNotNameTheBiasGradient())
    with pytest.raises(nn.KernelError, match=r"^ParameterGradientInBackwardX\(\): expected backward to name .* grad_scale$"):
        check_layer(ParameterGradientInBackwardX())


def test_an_optimizer_that_does_what_the_framework_does_is_refused():
    with pytest.raises(nn.KernelError, match=r"^DecaysTwice\(\): update names 'weight_decay', which the framework applies"):
        check_optimizer(DecaysTwice())


def test_every_check_has_a_fault_that_it_finds():
    checks = {check for part, *_ in FAULTS for check in checks_of(part)}
    assert {check for _, check, _ in FAULTS} == checks


# ------------------------------------------------------------------------------------- right, and easily taken for wrong


class LeakyRamp(nn.Activation):
    kinks = (0.0,)

    def __init__(self, slope=0.1):
        self.slope = slope

    @staticmethod
    def forward(x, slope):
        return x if x > 0.0 else slope * x

    @staticmethod
    def backward(grad_out, x, slope):
        return grad_out if x > 0.0 else slope * grad_out


class SteppedRamp(nn.Activation):
    """Its kinks are where nobody would look for them."""

    kinks = (-1.3, 1.7)

    @staticmethod
    def forward(x):
        if x < -1.3:
            return 0.0 * x
        return x if x > 1.7 else x * (x + 1.3) / 3.0

    @staticmethod
    def backward(grad_out, x):
        if x < -1.3:
            return 0.0 * grad_out
        return grad_out if x > 1.7 else grad_out * (2.0 * x + 1.3) / 3.0


class Logarithm(nn.Activation):
    """Of positive numbers only."""

    low, high = 0.1, 3.0
    domain = (1e-3, np.inf)

    @staticmethod
    def forward(x):
        return log(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out / x


class Exponential(nn.Activation):
    domain = (-np.inf, 80.0)

    @staticmethod
    def forward(x):
        return exp(x)

    @staticmethod
    def backward(grad_out, out):
        return grad_out * out


class Vectors(nn.Layer):
    """Looks a row up for each integer."""

    input_dtype = "int64"

    def build(self, in_shape):
        self.parameter("table", (7, 3), init="normal")
        self.input_limit = 7
        return (3,)

    @staticmethod
    def forward(x, table, out):
        for n in range(x.shape[0]):
            for j in range(3):
                out[n, j] = table[x[n], j]

    @staticmethod
    def backward(x, grad_out, grad_table):
        grad_table[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(3):
                grad_table[x[n], j] += grad_out[n, j]


class GaussianNoise(nn.Layer):
    """Box and Muller's: two uniform numbers make a normal one."""

    def __init__(self, deviation=0.1):
        self.deviation = deviation

    def build(self, in_shape):
        (self.width,) = in_shape
        return in_shape

    @staticmethod
    def forward(x, training, seed, first_row, width, deviation, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j]
                if training:
                    counter = 2 * ((first_row + n) * width + j)
                    radius = (real(uniform_bits(seed, counter) >> 8) + 0.5) / 2.0**24
                    angle = (real(uniform_bits(seed, counter + 1) >> 8) + 0.5) / 2.0**24
                    out[n, j] += deviation * np.sqrt(-2.0 * log(radius)) * np.cos(2.0 * np.pi * angle)

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j]


class BatchCentring(nn.Layer):
    """Mixes the rows in training, and says so; out of it, a running mean takes the place of theirs."""

    mixes_rows = True

    def __init__(self, momentum=0.1):
        self.momentum = momentum

    def build(self, in_shape):
        self.state("running", in_shape)
        return in_shape

    @staticmethod
    def forward(x, training, running, momentum, out):
        for j in range(x.shape[1]):
            mean = running[j]
            if training:
                mean = real(0)
                for n in range(x.shape[0]):
                    mean += x[n, j]
                mean /= real(x.shape[0])
                running[j] += momentum * (mean - running[j])
            for n in range(x.shape[0]):
                out[n, j] = x[n, j] - mean

    @staticmethod
    def backward(grad_out, training, grad_x):
        for j in range(grad_x.shape[1]):
            mean = real(0)
            if training:
                for n in range(grad_x.shape[0]):
                    mean += grad_out[n, j]
                mean /= real(grad_x.shape[0])
            for n in range(grad_x.shape[0]):
                grad_x[n, j] = grad_out[n, j] - mean


class ScaledSquare(nn.Layer):
    """Scratch that forward hands to backward, and backward to backward_x."""

    def build(self, in_shape):
        self.parameter("scale", in_shape, init="ones")
        self.scratch("inner", in_shape)
        return in_shape

    @staticmethod
    def forward(x, scale, inner, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                inner[n, j] = x[n, j] * scale[j]
                out[n, j] = inner[n, j] * inner[n, j]

    @staticmethod
    def backward(x, inner, grad_out, grad_inner, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_inner[n, j] = 2.0 * inner[n, j] * grad_out[n, j]
                grad_scale[j] += grad_inner[n, j] * x[n, j]

    @staticmethod
    def backward_x(scale, grad_inner, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_inner[n, j] * scale[j]


class ReversedSums(nn.Layer):
    """In place, and right: from the right end, where what it still reads is not yet written over."""

    inplace = True

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1] - 1, 0, -1):
                out[n, j] = x[n, j] + x[n, j - 1]
            out[n, 0] = x[n, 0]

    @staticmethod
    def backward(grad_out, grad_x):
        last = grad_x.shape[1] - 1
        for n in range(grad_x.shape[0]):
            for j in range(last):
                grad_x[n, j] = grad_out[n, j] + grad_out[n, j + 1]
            grad_x[n, last] = grad_out[n, last]


class LargestOfPairs(nn.Layer):
    """Half as wide, integers as scratch, and a gradient of 0 for half of the inputs."""

    def build(self, in_shape):
        self.scratch("chosen", (in_shape[0] // 2,), "int64")
        return (in_shape[0] // 2,)

    @staticmethod
    def forward(x, chosen, out):
        for n in range(out.shape[0]):
            for j in range(out.shape[1]):
                chosen[n, j] = 2 * j if x[n, 2 * j] > x[n, 2 * j + 1] else 2 * j + 1
                out[n, j] = x[n, chosen[n, j]]

    @staticmethod
    def backward(chosen, grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = 0.0
            for j in range(grad_out.shape[1]):
                grad_x[n, chosen[n, j]] = grad_out[n, j]


class Length(nn.Layer):
    """Calls NumPy number by number, which stays in float32."""

    def build(self, in_shape):
        return (1,)

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            total = real(0)
            for j in range(x.shape[1]):
                total += np.abs(x[n, j]) * np.abs(x[n, j])
            out[n, 0] = np.sqrt(total + 1.0)

    @staticmethod
    def backward(x, out, grad_out, grad_x):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_x[n, j] = grad_out[n, 0] * np.sign(x[n, j]) * np.abs(x[n, j]) / np.maximum(out[n, 0], 1.0)


class KeepsOnItself(nn.PythonLayer):
    def forward(self, x):
        self.squares = x * x
        return np.exp(-self.squares)

    def backward(self, grad_out, x, out):
        self.calls = getattr(self, "calls", 0) + 1
        return -2 * x * np.exp(-self.squares) * grad_out


class PythonAffine(nn.PythonLayer):
    """Writes parameter gradients, reads scratch; a view of grad_out is as good as a copy."""

    def build(self, in_shape):
        self.parameter("offset", in_shape)
        return in_shape

    def forward(self, x, offset):
        return x + offset

    def backward(self, grad_out, grad_offset):
        grad_offset[...] = grad_out.sum(axis=0)
        return grad_out


class PythonDrop(nn.PythonLayer):
    """A generator for every row, from the seed and its place in the batch."""

    def forward(self, x, training, seed, first_row):
        rows = [np.random.default_rng([seed, first_row + n]).random(x.shape[1]) for n in range(len(x))]
        self.mask = np.array(rows) < 0.5 if training else np.ones(x.shape, bool)
        return x * self.mask

    def backward(self, grad_out):
        return grad_out * self.mask


class Quartic(nn.PythonLoss):
    def forward(self, prediction, target):
        self.difference = prediction - target
        return self.difference**4

    def backward(self, prediction, target):
        return 4 * self.difference**3


class Distance(nn.PythonLoss):
    rowwise = True

    def forward(self, prediction, target):
        return np.sqrt(((prediction - target) ** 2).sum(axis=1) + 1.0)

    def backward(self, prediction, target):
        return (prediction - target) / self.forward(prediction, target)[:, None]


class CrossEntropy(nn.Loss):
    """Of classes; what is predicted are logarithms, up to a constant."""

    classes = True
    rowwise = True

    @staticmethod
    def forward(prediction, target):
        total, right = real(0), real(0)
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
            right += prediction[k] * target[k]
        return log(total) - right

    @staticmethod
    def backward(prediction, target, grad_prediction):
        total = real(0)
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
        for k in range(prediction.shape[0]):
            grad_prediction[k] = exp(prediction[k]) / total - target[k]


class Hinge(nn.Loss):
    """Targets are -1 and 1, so the kink at prediction * target = 1 is one of their difference."""

    target_values = (-1.0, 1.0)
    kinks = (0.0,)

    @staticmethod
    def forward(prediction, target):
        return max(1.0 - prediction * target, 0.0)

    @staticmethod
    def backward(prediction, target):
        return -target if prediction * target < 1.0 else 0.0


class WarmMomentum(nn.Optimizer):
    """Momentum that grows with the step, by a coefficient."""

    states = ("velocity",)

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum

    def coefficients(self, lr, step):
        return {"friction": np.minimum(self.momentum, 1 - 1 / (1 + step)), "rate": lr / 2}

    @staticmethod
    def update(value, grad, velocity, rate, friction):
        for i in range(value.shape[0]):
            velocity[i] = friction * velocity[i] - rate * grad[i]
            value[i] += velocity[i]


RIGHT = [
    (LeakyRamp(0.3), {}),
    (SteppedRamp(), {}),
    (Logarithm(), {}),
    (Exponential(), {}),
    (Vectors(), {"in_shape": (), "low": 0, "high": 7}),
    (Scale(), {}),
    (Dense(), {}),
    (Drop(), {}),
    (GaussianNoise(), {}),
    (BatchCentring(), {}),
    (ScaledSquare(), {}),
    (ReversedSums(), {}),
    (LargestOfPairs(), {"in_shape": (6,)}),
    (Length(), {}),
    (KeepsOnItself(), {}),
    (PythonAffine(), {}),
    (PythonDrop(), {}),
    (Quartic(), {}),
    (Distance(), {}),
    (Product(), {}),
    (CrossEntropy(), {}),
    (Hinge(), {}),
    (WarmMomentum(), {}),
]  # fmt: skip


@pytest.mark.parametrize(("part", "options"), RIGHT, ids=[type(part).__name__ for part, _ in RIGHT])
def test_a_right_part_is_not_accused(part, options):
    report = CHECKERS[part.registry.kind](part, **options)
    assert report.part is part
    assert report.checks == tuple(check.__name__ for check in checks_of(part))
