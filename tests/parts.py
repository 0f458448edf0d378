"""Right parts, as users write them: easily taken for wrong, and what faults are planted in."""

import numpy as np

import nnkit as nn
from nnkit.kernels.math import exp, log, real
from nnkit.kernels.random import uniform_bits


class SteppedRamp(nn.Hardtanh):
    """Its kinks are where nobody would look for them."""

    kinks = (-1.3, 1.7)


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


class Scale(nn.Layer):
    """out = x * scale: one learnt factor per feature."""

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
    """Calls NumPy's matrix product."""

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


class Drop(nn.Layer):
    """Draws the same mask twice, in place of keeping it."""

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


class MovingCentring(nn.Layer):
    """Takes off a mean of all batches so far, this one included; the derivative goes through that mean."""

    mixes_rows = True

    def __init__(self, momentum=0.1):
        self.momentum = momentum

    def build(self, in_shape):
        self.state("running", in_shape)
        return in_shape

    @staticmethod
    def forward(x, training, running, momentum, out):
        for j in range(x.shape[1]):
            if training:
                mean = real(0)
                for n in range(x.shape[0]):
                    mean += x[n, j] / real(x.shape[0])
                running[j] += momentum * (mean - running[j])
            for n in range(x.shape[0]):
                out[n, j] = x[n, j] - running[j]

    @staticmethod
    def backward(grad_out, training, momentum, grad_x):
        for j in range(grad_x.shape[1]):
            mean = real(0)
            if training:
                for n in range(grad_x.shape[0]):
                    mean += grad_out[n, j] / real(grad_x.shape[0])
            for n in range(grad_x.shape[0]):
                grad_x[n, j] = grad_out[n, j] - momentum * mean


class BatchRenorm(nn.Layer):
    """Ioffe 2017, "Batch renormalization": what ties the batch to the running numbers counts as constant.

    In training out = (x - mean) / deviation * r + d, with r = deviation / running deviation and d = (mean - running mean) /
    running deviation within bounds: computed from a state, which is changed then, and passed by in backward. With bounds of
    1 and 0 no state is read.
    """

    mixes_rows = True

    def __init__(self, most_ratio=100.0, most_shift=100.0, momentum=0.1):
        self.most_ratio = most_ratio
        self.most_shift = most_shift
        self.momentum = momentum

    def build(self, in_shape):
        self.state("centre", in_shape)
        self.state("width", in_shape, init="ones")
        self.workspace("deviation", in_shape)
        self.workspace("ratio", in_shape)
        self.scratch("normal", in_shape)
        return in_shape

    @staticmethod
    def forward(x, training, centre, width, deviation, ratio, normal, most_ratio, most_shift, momentum, out):
        for j in range(x.shape[1]):
            mean, square = centre[j], width[j] * width[j]
            if training:
                mean = square = real(0)
                for n in range(x.shape[0]):
                    mean += x[n, j] / real(x.shape[0])
                for n in range(x.shape[0]):
                    square += (x[n, j] - mean) * (x[n, j] - mean) / real(x.shape[0])
                square += 1e-3
            deviation[j] = np.sqrt(square)
            ratio[j] = deviation[j] / width[j]
            shift = (mean - centre[j]) / width[j]
            if training:
                ratio[j] = min(max(ratio[j], 1.0 / most_ratio), most_ratio)
                shift = min(max(shift, -most_shift), most_shift)
            for n in range(x.shape[0]):
                normal[n, j] = (x[n, j] - mean) / deviation[j]
                out[n, j] = normal[n, j] * ratio[j] + shift
            if training:
                centre[j] += momentum * (mean - centre[j])
                width[j] += momentum * (deviation[j] - width[j])

    @staticmethod
    def backward(training, deviation, ratio, normal, grad_out, grad_x):
        for j in range(grad_x.shape[1]):
            mean = real(0)
            along = real(0)
            if training:
                for n in range(grad_x.shape[0]):
                    mean += grad_out[n, j] / real(grad_x.shape[0])
                    along += grad_out[n, j] * normal[n, j] / real(grad_x.shape[0])
            for n in range(grad_x.shape[0]):
                grad_x[n, j] = (grad_out[n, j] - mean - normal[n, j] * along) * ratio[j] / deviation[j]


def normalise(vector):
    total = real(0)
    for i in range(vector.shape[0]):
        total += vector[i] * vector[i]
    length = np.sqrt(total)
    for i in range(vector.shape[0]):
        vector[i] /= length


class SpectralDense(nn.Layer):
    """Miyato et al. 2018, "Spectral normalization": out = x weight / sigma, the largest singular value of weight.

    One step of the power iteration in each forward pass of training; its vectors count as constant.
    """

    def build(self, in_shape):
        self.parameter("weight", (*in_shape, 3), init="normal")
        self.state("left", in_shape, init="ones")
        self.state("right", (3,), init="ones")
        return (3,)

    @staticmethod
    def forward(x, training, weight, left, right, out):
        if training:
            for i in range(left.shape[0]):
                left[i] = 0.0
                for j in range(right.shape[0]):
                    left[i] += weight[i, j] * right[j]
            normalise(left)
            for j in range(right.shape[0]):
                right[j] = 0.0
                for i in range(left.shape[0]):
                    right[j] += weight[i, j] * left[i]
            normalise(right)
        sigma = real(0)
        for i in range(left.shape[0]):
            for j in range(right.shape[0]):
                sigma += left[i] * weight[i, j] * right[j]
        for n in range(x.shape[0]):
            for j in range(right.shape[0]):
                total = real(0)
                for i in range(left.shape[0]):
                    total += x[n, i] * weight[i, j]
                out[n, j] = total / sigma

    @staticmethod
    def backward(x, weight, left, right, out, grad_out, grad_x, grad_weight):
        sigma = real(0)
        for i in range(left.shape[0]):
            for j in range(right.shape[0]):
                sigma += left[i] * weight[i, j] * right[j]
        along = real(0)
        grad_weight[:] = 0.0
        for n in range(x.shape[0]):
            for i in range(left.shape[0]):
                grad_x[n, i] = 0.0
            for j in range(right.shape[0]):
                along += grad_out[n, j] * out[n, j]
                for i in range(left.shape[0]):
                    grad_x[n, i] += grad_out[n, j] * weight[i, j] / sigma
                    grad_weight[i, j] += x[n, i] * grad_out[n, j] / sigma
        for i in range(left.shape[0]):
            for j in range(right.shape[0]):
                grad_weight[i, j] -= along * left[i] * right[j] / sigma


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


class Product(nn.Loss):
    """Is asked for a row at a time."""

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


class OneHotCrossEntropy(nn.Loss):
    """Of classes, written on rows of numbers, and given labels as such; what is predicted are logarithms, up to a constant."""

    rowwise = classes = True

    @staticmethod
    def forward(prediction, target):
        total, matched = 0.0, 0.0
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
            matched += target[k] * prediction[k]
        return log(total) - matched

    @staticmethod
    def backward(prediction, target, grad_prediction):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
        for k in range(prediction.shape[0]):
            grad_prediction[k] = exp(prediction[k]) / total - target[k]


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


# Each with what its checker has to know.
RIGHT = [
    *((part, {}) for part in (
        nn.LeakyReLU(0.3), SteppedRamp(-1.3, 1.7), Logarithm(), Exponential(), Scale(), Dense(), Drop(), GaussianNoise(),
        BatchCentring(), MovingCentring(), BatchRenorm(), BatchRenorm(1.0, 0.0), SpectralDense(),
        ScaledSquare(), ReversedSums(), Length(), KeepsOnItself(), PythonAffine(), PythonDrop(), Quartic(),
        Distance(), Product(), OneHotCrossEntropy(), nn.HingeLoss(), WarmMomentum(),
    )),
    (LargestOfPairs(), {"in_shape": (6,)}),
    (Vectors(), {"in_shape": (), "low": 0, "high": 7}),
]  # fmt: skip
