"""What the checks of parts cost and show, and what they leave alone. What they find: tests/contract/test_planted_faults.py."""

import io
import sys

import numpy as np
import pytest
from rich.console import Console

import nnkit as nn
from nnkit.engine.stub import statistics
from nnkit.kernels.math import sigmoid
from nnkit.testing import check_activation, check_layer, check_loss
from nnkit.testing.checks import checks_of, examples_of, findings, uncompiled_checks_of
from nnkit.testing.layers import indices_are_in_range, states_follow_training
from nnkit.testing.progress import Watching
from tests.faults import changed
from tests.parts import BatchRenorm, MovingCentring, Scale, SpectralDense, WarmMomentum

LAST = -1


class FromTheEnd(nn.Layer):
    """Counts from the end on purpose, in every way that one may write."""

    inplace = False

    def __init__(self, back=-2):
        self.back = back

    def build(self, in_shape):
        self.workspace("line", in_shape)
        return in_shape

    @staticmethod
    def forward(x, back, line, out):
        last = -1
        for n in range(x.shape[0]):
            for j in range(x.shape[-1]):
                line[-1 - j] = x[n, -j - 1]
            line[:-1] += x[n, LAST]
            line[last] += x[n, back]
            for j in range(x.shape[1]):
                out[n, j] = line[j]
            out[-1 - n, -1] += 1.0

    @staticmethod
    def backward(x, back, grad_out, grad_x):
        last = x.shape[1] - 1
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_x[n, j] = grad_out[n, j]
            for j in range(last):
                grad_x[n, last] += grad_out[n, j]
            grad_x[n, back] += grad_out[n, last]


def test_who_counts_from_the_end_on_purpose_may():
    indices_are_in_range(nn.Example(FromTheEnd()))


class Gathered(nn.Layer):
    """An index that another array holds, and one that a helper gets."""

    def __init__(self, first=0):
        self.first = first

    def build(self, in_shape):
        self.scratch("chosen", (1,), "int64")
        return (1,)

    @staticmethod
    def forward(x, chosen, first, out):
        for n in range(x.shape[0]):
            chosen[n, 0] = first
            out[n, 0] = x[n, chosen[n, 0]] + number(x, n, first + 1)

    @staticmethod
    def backward(x, chosen, first, grad_out, grad_x):
        grad_x[:] = 0.0
        for n in range(x.shape[0]):
            grad_x[n, chosen[n, 0]] += grad_out[n, 0]
            grad_x[n, first + 1] += grad_out[n, 0]


def number(x, n, j):
    return x[n, j]


def test_an_index_that_an_array_holds():
    check_layer(Gathered())
    with pytest.raises(nn.testing.CheckError, match=r": x\[n, chosen\[n, 0\]\] has a negative index, at \[0, -1\] of shape"):
        check_layer(Gathered(-1))


@pytest.mark.parametrize("index", ["first + 1", "3 - 4", "(n - 1) // 4", "min(n, 0) - 1"])
def test_an_index_that_is_computed(index):
    with pytest.raises(nn.testing.CheckError, match="has a negative index") as caught:
        check_layer(changed(Gathered, "forward", "chosen[n, 0]]", f"{index}]")(-2))
    assert f": x[n, {index}] has a negative index" in str(caught.value)


def test_an_index_that_a_helper_gets():
    class Handed(Gathered):
        @staticmethod
        def forward(x, first, chosen, out):
            for n in range(x.shape[0]):
                chosen[n, 0] = 0
                out[n, 0] = x[n, 0] + number(x, n, first)

    with pytest.raises(nn.testing.CheckError, match=r"number fails at `return x\[n, j\]`: x\[n, j\] has a negative index"):
        check_layer(Handed(-1))


# ------------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("part", [MovingCentring(), SpectralDense(), nn.BatchNorm1d(), nn.Linear(2)])
def test_nothing_is_said_where_all_could_be_checked(part):
    assert check_layer(part).notes == {}


def test_what_a_state_hides_is_said():
    report = check_layer(BatchRenorm())
    assert list(report.notes) == ["gradients_are_the_derivatives"]
    assert report.notes["gradients_are_the_derivatives"].startswith("grad_x: forward reads a state that it changes")
    assert "gradients_are_the_derivatives, in part: grad_x: forward reads a state" in repr(report)


def test_a_state_that_stays_as_it_is_is_noted():
    part = changed(MovingCentring, "forward", "running[j] += momentum * (mean - running[j])", "")()
    assert states_follow_training(nn.Example(part)).startswith("running: training leaves it as it is at first")
    assert states_follow_training(nn.Example(MovingCentring())) == ""


# ------------------------------------------------------------------------------------------------------------- kinks


@pytest.mark.parametrize("part", [
    nn.Hardtanh(-3.0, -1.0), nn.Hardtanh(0.5, 4.0), nn.Hardtanh(-20.0, 20.0), nn.HuberLoss(delta=0.3), nn.HuberLoss(delta=5.0),
    nn.SmoothL1Loss(beta=0.3), nn.SmoothL1Loss(beta=5.0), nn.PoissonNLLLoss(log_input=False), nn.LeakyReLU(0.001),
    nn.Softplus(0.001),
])  # fmt: skip
def test_inputs_follow_the_hyperparameters(part):
    (check_activation if isinstance(part, nn.Activation) else check_loss)(part)


def test_inputs_lie_on_both_sides_of_every_kink():
    for part in (nn.Hardtanh(-20.0, 20.0), nn.Hardtanh(5.0, 6.0)):
        assert part.low < part.kinks[0] == part.min_val < part.kinks[1] == part.max_val < part.high
    for loss in (nn.HuberLoss(delta=9.0), nn.SmoothL1Loss(beta=9.0)):
        assert loss.kinks == (-9.0, 9.0)
        assert loss.prediction_high > 9.0


# ------------------------------------------------------------------------------------------------------ cost and display


@pytest.mark.parametrize("part", [nn.Linear(3), nn.Conv2d(3, 2), nn.GELU(), nn.CrossEntropyLoss(), nn.Adam(), WarmMomentum()])
def test_the_first_checks_compile_nothing(part, monkeypatch):
    def refuse(kernel):
        raise AssertionError(f"{kernel.function} is compiled")

    monkeypatch.setattr("nnkit.engine.stub.Kernel._native", property(refuse))
    first = uncompiled_checks_of(part)
    assert first == checks_of(part)[: len(first)]
    for example in examples_of(type(part)) or [nn.Example(part)]:
        for check in first:
            check(example)
        with pytest.raises(AssertionError, match="is compiled"):
            for check in checks_of(part)[len(first) :]:
                check(example)


def test_every_index_is_looked_at_before_anything_is_compiled():
    class Beyond(MovingCentring):
        @staticmethod
        def forward(x, out):
            out[:] = x[:, 99:100]

    assert [found.error is None for found in findings(nn.Example(Beyond()))] == [False]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_says_what_is_compiled_on_a_terminal(terminal):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=100)
    with Watching("Scale()", console):
        if statistics.watcher is not None:
            statistics.watcher("Scale.forward")
            statistics.watcher("Scale.backward")
    assert ("checking Scale(): compiling kernel 2, Scale.backward" in shown.getvalue()) is terminal
    assert (shown.getvalue() == "") is not terminal
    assert statistics.watcher is None


def test_nothing_is_shown_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    check_layer(nn.Linear(2), in_shape=(3,))
    assert capsys.readouterr() == ("", "")


def test_an_overflow_is_told_uncompiled():
    class Power(nn.Activation):
        @staticmethod
        def forward(x):
            return np.exp(x)

        @staticmethod
        def backward(grad_out, out):
            return grad_out * out

    with pytest.raises(nn.testing.CheckError, match=r"expected a finite number, got inf .*; likely cause: an exponential"):
        check_activation(Power())


# --------------------------------------------------------------------------------------------- parts of somebody new


class Swish(nn.Activation):
    """With a learnt slope, for rows of one axis."""

    elementwise = False

    def build(self, in_shape):
        self.parameter("slope", (1,), init="ones")
        return in_shape

    @staticmethod
    def forward(x, slope, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * sigmoid(slope[0] * x[n, j])

    @staticmethod
    def backward(grad_out, x, slope, grad_x, grad_slope):
        grad_slope[0] = 0.0
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                s = sigmoid(slope[0] * x[n, j])
                grad_x[n, j] = grad_out[n, j] * (s + slope[0] * x[n, j] * s * (1.0 - s))
                grad_slope[0] += grad_out[n, j] * x[n, j] * x[n, j] * s * (1.0 - s)


def test_an_activation_that_learns():
    check_activation(Swish(), in_shape=(4,))
    expected = r"`out\[n, j\] = .*: it makes an array, .*; with out of shape \(4, 3, 4\), x of shape \(4, 3, 4\), slope of"
    with pytest.raises(nn.testing.CheckError, match=expected):
        check_activation(Swish())


def test_an_activation_of_single_numbers_learns_nothing():
    class Learnt(nn.Tanh):
        def build(self, in_shape):
            self.parameter("slope", (1,))
            return in_shape

    with pytest.raises(nn.KernelError, match=r"Learnt\(\): expected no parameter such as 'slope' .* elementwise = False"):
        check_activation(Learnt())


class Pinball(nn.Loss):
    """Its constructor does not know of reductions."""

    kinks = (0.0,)

    def __init__(self, quantile=0.9):
        self.quantile = quantile

    @staticmethod
    def forward(prediction, target, quantile):
        error = target - prediction
        return max(quantile * error, (quantile - 1.0) * error)

    @staticmethod
    def backward(prediction, target, quantile):
        return -quantile if target > prediction else 1.0 - quantile


def test_a_loss_without_a_word_of_reductions_is_a_mean():
    report = check_loss(Pinball())
    assert set(report.kernels) == {"loss"}
    assert float(Pinball()([[0.0, 0.0]], [[1.0, 3.0]])[0]) == pytest.approx(1.8)
    X = np.random.default_rng(0).normal(size=(32, 3))
    nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], loss=Pinball(0.3), epochs=1)


@pytest.mark.parametrize("line", ["out[:] = x * scale", "out[:] = np.sqrt(x * x)", "out[:] = x.sum(axis=0)", "out[0] = -x[0]"])
def test_arithmetic_of_whole_arrays_is_told_uncompiled(line):
    wrong = changed(Scale, "forward", "for n", f"{line}\nfor n")()
    (found,) = findings(nn.Example(wrong))
    assert f"forward fails at `{line}`: it makes an array, in every call; loop over numbers" in str(found.error)


@pytest.mark.parametrize("line", ["out[:] = x", "out[:] = 0.0", "out += x", "np.multiply(x, scale, out)", "total = x.sum()"])
def test_what_makes_no_array_may_be_of_whole_arrays(line):
    indices_are_in_range(nn.Example(changed(Scale, "forward", "for n", f"{line}\nfor n")()))


def test_a_rowwise_loss_writes_its_gradient():
    with pytest.raises(nn.KernelError, match=r"Returned: expected backward to name \(and write\) grad_prediction"):
        class Returned(nn.Loss):
            rowwise = True

            @staticmethod
            def forward(prediction, target):
                return prediction[0] - target[0]

            @staticmethod
            def backward(prediction, target):
                return 1.0

        check_loss(Returned())


def test_a_build_that_returns_nothing():
    class Forgets(Scale):
        def build(self, in_shape):
            super().build(in_shape)

    with pytest.raises(nn.testing.CheckError, match="got None; end it with return in_shape"):
        check_layer(Forgets())
