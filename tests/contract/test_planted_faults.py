"""Parts that are wrong on purpose: every property that they break must be found broken, and named."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.part import Example
from nnkit.testing import CheckError, check_activation, check_layer, check_loss, check_optimizer, checks

# ------------------------------------------------------------------------------------------------------ activations


class WrongSign(nn.Activation):
    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def backward(grad_out, x):
        return -2.0 * x * grad_out


class WrongArgument(nn.Activation):  # the derivative of exp is written in out, not in x
    @staticmethod
    def forward(x):
        return np.exp(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out * x


class ForgotTheGradient(nn.Activation):
    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def backward(grad_out, x):
        return 2.0 * x


class HidesNaN(nn.Activation):
    @staticmethod
    def forward(x):
        return x if x > 0.0 else 0.0

    @staticmethod
    def backward(grad_out, out):
        return grad_out if out > 0.0 else 0.0

    kinks = (0.0,)


class Overflows(nn.Activation):
    @staticmethod
    def forward(x):
        return np.log(1.0 + np.exp(x))

    @staticmethod
    def backward(grad_out, x):
        return grad_out / (1.0 + np.exp(-x))


class WidensToFloat64(nn.Activation):
    @staticmethod
    def forward(x):
        return np.float64(x) * x * x

    @staticmethod
    def backward(grad_out, x):
        return grad_out * 3.0 * x * x


# ----------------------------------------------------------------------------------------------------------- layers


class Scale(nn.Layer):
    """Right; the faults below each break one thing of it."""

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


class AddsToTheGradient(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_x[n, j] = grad_out[n, j] * scale[j]


class ForgetsAParameter(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_x[n, j] = grad_out[n, j] * scale[j]


class WritesOverX(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                x[n, j] *= scale[j]
                out[n, j] = x[n, j]


class WritesOverGradOut(Scale):
    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_scale[j] += grad_out[n, j] * x[n, j]
                grad_out[n, j] *= scale[j]
                grad_x[n, j] = grad_out[n, j]


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


class WritesHalfOfOut(Scale):
    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            for j in range(0, x.shape[1], 2):
                out[n, j] = x[n, j] * scale[j]


class MixesRowsInSecret(Scale):
    @staticmethod
    def forward(x, scale, out):
        for j in range(x.shape[1]):
            mean = 0.0
            for n in range(x.shape[0]):
                mean += x[n, j] / x.shape[0]
            for n in range(x.shape[0]):
                out[n, j] = (x[n, j] - mean) * scale[j]


class Allocates(Scale):
    @staticmethod
    def forward(x, scale, out):
        out[:] = x * scale


class MissingTranspose(nn.Layer):
    def build(self, in_shape):
        self.parameter("weight", (in_shape[0], in_shape[0]), init="normal")
        return in_shape

    @staticmethod
    def forward(x, weight, out):
        np.dot(x, weight, out)

    @staticmethod
    def backward(x, weight, grad_out, grad_x, grad_weight):
        np.dot(x.T, grad_out, grad_weight)
        np.dot(grad_out, weight, grad_x)


class WritesBeyondItsRows(Scale):
    @staticmethod
    def forward(x, scale, out):
        whole = np.lib.stride_tricks.as_strided(out, (x.shape[0] + 1, x.shape[1]), out.strides)
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j]
        whole[x.shape[0], 0] = 1.0


class RemembersElsewhere(nn.PythonLayer):
    """Keeps x on the class instead of on itself."""

    seen = {}  # noqa: RUF012 - the fault

    def forward(self, x):
        self.seen["x"] = x.copy()
        return x * x

    def backward(self, grad_out):
        return 2.0 * self.seen["x"] * grad_out


class LosesAnArgument(Scale):
    def __init__(self, gain=1.0):
        self.gain = 2.0 * gain


# ----------------------------------------------------------------------------------------------------------- losses


class WrongValue(nn.Loss):
    """The gradient is right for (p - t)**2 / 2, the value is twice as large."""

    @staticmethod
    def forward(prediction, target):
        return (prediction - target) * (prediction - target)

    @staticmethod
    def backward(prediction, target):
        return prediction - target


class DerivativeByTheTarget(nn.Loss):
    @staticmethod
    def forward(prediction, target):
        return (prediction - target) * (prediction - target)

    @staticmethod
    def backward(prediction, target):
        return 2.0 * (target - prediction)


class WidenedLoss(nn.MSELoss):
    @staticmethod
    def forward(prediction, target):
        return (np.float64(prediction) - target) * (prediction - target)


class DividesByTheRow(nn.Loss):
    """Writes over grad what the weights were to be applied to, and leaves the last number."""

    rowwise = True

    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += prediction[k] * target[k]
        return total

    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0] - 1):
            grad_prediction[k] = target[k]


# ------------------------------------------------------------------------------------------------------- optimizers


class Ascends(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] += lr * grad[i]


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


class ScalesTheGradient(nn.SGD):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            grad[i] *= lr
            value[i] -= grad[i]


FAULTS = [
    (WrongSign(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_x"),
    (WrongArgument(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_x"),
    (ForgotTheGradient(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_x"),
    (HidesNaN(), checks.nan_stays_nan, "forward makes numbers of NaN"),
    (Overflows(), checks.large_inputs_stay_finite, "forward gives a wrong out: .* expected a finite number, got inf"),
    (WidensToFloat64(), checks.float32_stays_float32, "forward for float32 computes in float64"),
    (AddsToTheGradient(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_scale"),
    (AddsToTheGradient(), checks.nothing_unwritten_is_read, "backward gives a wrong grad_scale"),
    (ForgetsAParameter(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_scale"),
    (WritesOverX(), checks.inputs_stay_as_they_are, "forward gives a wrong x"),
    (WritesOverGradOut(), checks.inputs_stay_as_they_are, "backward gives a wrong grad_out"),
    (ReadsUnwrittenScratch(), checks.nothing_unwritten_is_read, "forward gives a wrong out"),
    (WritesHalfOfOut(), checks.nothing_unwritten_is_read, "forward gives a wrong out"),
    (MixesRowsInSecret(), checks.batch_equals_rows, "forward gives a wrong out"),
    (Allocates(), checks.float32_stays_float32, "forward allocates memory"),
    (MissingTranspose(), checks.gradients_are_the_derivatives, "backward gives a wrong grad_x"),
    (WritesBeyondItsRows(), checks.only_these_rows_are_written, "forward writes to out beyond the rows"),
    (RemembersElsewhere(), checks.passes_do_not_disturb_each_other, "backward gives a wrong grad_x"),
    (LosesAnArgument(3.0), checks.repr_can_be_typed_back_in, "makes another part"),
    (WrongValue(), checks.loss_gradient_is_the_derivative, "backward gives a wrong grad_prediction"),
    (DerivativeByTheTarget(), checks.loss_gradient_is_the_derivative, "backward gives a wrong grad_prediction"),
    (WidenedLoss(), checks.loss_float32_stays_float32, "computes in float64"),
    (DividesByTheRow(), checks.loss_gradient_is_the_derivative, "backward gives a wrong grad_prediction"),
    (Ascends(), checks.update_descends, "300 steps bring a quadratic from"),
    (DecaysByChunk(), checks.chunks_do_not_matter, "update gives a wrong value"),
    (MovesThePadding(), checks.padding_stays_zero, "update gives a wrong value"),
    (ScalesTheGradient(), checks.gradient_is_only_read, "update gives a wrong grad"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "check", "message"), FAULTS, ids=lambda item: getattr(item, "__name__", type(item).__name__))
def test_planted_fault_is_caught_and_named(part, check, message):
    example = Example(part, (5,), kinks=getattr(part, "kinks", ()))
    with pytest.raises(CheckError, match=message) as caught:
        check(example)
    assert repr(part) in str(caught.value)


def test_a_right_layer_passes_all_checks():
    check_layer(Scale())


@pytest.mark.parametrize(
    ("check_all", "part"),
    [(check_layer, AddsToTheGradient()), (check_activation, WrongSign()), (check_loss, WrongValue()),
     (check_optimizer, Ascends())],
)  # fmt: skip
def test_public_checkers_catch_a_wrong_part(check_all, part):
    with pytest.raises(CheckError):
        check_all(part)


def test_the_message_names_the_worst_entry():
    message = r"WrongSign\(\): backward gives a wrong grad_x: at \[\d, \d, \d\] expected -?\d.*, got -?\d"
    with pytest.raises(CheckError, match=message):
        check_activation(WrongSign())
