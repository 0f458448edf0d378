"""What compiled code raises ends the call with an error that names the kernel; nothing is printed and forgotten."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)


class Fails(nn.Layer):
    """Assigns an array to one of another width, in one of its kernels."""

    def __init__(self, forward=False, backward=False):
        self.in_forward = forward
        self.in_backward = backward

    @staticmethod
    def forward(x, in_forward, out):
        if in_forward:
            out[:, :2] = x
        else:
            out[:] = x

    @staticmethod
    def backward(grad_out, in_backward, grad_x):
        if in_backward:
            grad_x[:, :2] = grad_out
        else:
            grad_x[:] = grad_out


class Odd(nn.Loss):
    """Multiplies rows of different lengths."""

    rowwise = True

    @staticmethod
    def forward(prediction, target):
        return np.dot(prediction, target[:1])

    @staticmethod
    def backward(prediction, target, grad_prediction):
        grad_prediction[:] = 1.0


class Stuck(nn.Optimizer):
    """Writes its step into an array of another length."""

    @staticmethod
    def update(value, grad, lr):
        value[:2] = grad


def net(layer):
    return nn.Sequential([nn.Linear(4), layer, nn.Linear(2)]).build((5,), 0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stage", ["forward", "backward"])
def test_a_layer(stage, threads, capfd):
    Y = np.zeros((64, 2))
    model = net(Fails(**{stage: True}))
    calls = [lambda: model.fit(X, Y, epochs=2, n_threads=threads, batch_size=64)]
    if stage == "forward":
        calls += [lambda: model.predict(X[:1]), lambda: model.predict(X[:1]), lambda: model.predict(np.tile(X, (10, 1))),
                  lambda: model.forward(X), lambda: model.evaluate(X, Y)]  # fmt: skip
    else:
        model.forward(X, training=True)
        calls.append(lambda: model.backward(np.ones((64, 2))))
    before = network_of(model).vector.copy()
    for call in calls:
        with pytest.raises(nn.KernelError, match=rf"layer 1, Fails.*Fails.{stage} raised ValueError: .*shape") as caught:
            call()
        assert "grad_x[:, :2]" in str(caught.getrepr()) or "out[:, :2]" in str(caught.getrepr())  # the user's line
    np.testing.assert_array_equal(network_of(model).vector, before)
    assert capfd.readouterr().err == ""


def test_as_a_function(capfd):
    model = net(Fails(forward=True))
    out = np.zeros(2, np.float32)
    model.as_function()(X[0], out)
    assert np.isnan(out).all()
    assert capfd.readouterr().err == ""


def test_a_loss(capfd):
    with pytest.raises(nn.KernelError, match=r"Odd: .* raised ValueError: .*shapes"):
        Odd()([[1.0, 2.0]], [[0.0, 0.0]])
    with pytest.raises(nn.KernelError, match=r"Odd: .* raised ValueError: .*shapes"):
        nn.Sequential([nn.Linear(2)]).fit(X, np.zeros((64, 2)), loss=Odd())
    assert capfd.readouterr().err == ""


def test_an_optimizer(capfd):
    model = nn.Sequential([nn.Linear(2)])
    with pytest.raises(nn.KernelError, match=r"Stuck: .*Stuck.update raised ValueError"):
        model.fit(X, np.zeros((64, 2)), optimizer=Stuck(lr=0.1))
    with pytest.raises(nn.KernelError, match=r"Stuck.update raised ValueError"):
        Stuck(lr=0.1).step(model)
    assert capfd.readouterr().err == ""


def test_arithmetic_is_as_before(capfd):
    """The loop lets the thread compute with denormal numbers again."""
    model = net(Fails(forward=True))
    for _ in range(2):
        with pytest.raises(nn.KernelError):
            model.predict(X[:1])
    assert float(np.float32(1e-38) * np.float32(0.01)) > 0.0
