"""Layers that draw numbers in training: what they draw, and how often; what PyTorch makes of the same draws."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels.random import normal, uniform_bits

MANY = (400, 250)
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of 32-bit products, in Python


def drawn(layer, x, seed=0):
    """The output in training, and the gradient of its sum."""
    model = nn.Sequential([layer]).build(x.shape[1:], random_state=seed, dtype="float64")
    out = model.forward(x, training=True)
    return out, model.backward(np.ones_like(out))


def test_slopes_of_rrelu_are_uniform_and_those_of_the_gradient():
    x = np.concatenate([np.full((400, 125), -2.0), np.full((400, 125), 3.0)], axis=1)
    out, grad = drawn(nn.RReLU(0.2, 0.6), x)
    slopes = out / x
    assert (slopes[:, 125:] == 1.0).all()
    below = slopes[:, :125]
    assert 0.2 <= below.min() < 0.201
    assert 0.599 < below.max() <= 0.6
    assert below.mean() == pytest.approx(0.4, abs=0.002)
    assert below.std() == pytest.approx(0.4 / np.sqrt(12.0), abs=0.002)
    np.testing.assert_allclose(grad, slopes, rtol=1e-12)


@pytest.mark.parametrize("layer", [nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)])
def test_dropout_for_selu_keeps_mean_and_variance(layer):
    x = np.random.default_rng(0).normal(size=MANY)
    out, grad = drawn(layer, x)
    assert abs(out.mean()) < 0.01
    assert out.std() == pytest.approx(1.0, abs=0.01)
    dropped = grad == 0.0
    assert dropped.mean() == pytest.approx(0.3, abs=0.005)
    a = 1.0 / np.sqrt(0.7 * (1.0 + 0.3 * 1.7580993408473766**2))
    np.testing.assert_allclose(grad[~dropped], a, rtol=1e-12)
    b = a * 0.3 * 1.7580993408473766
    np.testing.assert_allclose(out, np.where(dropped, -a * 1.7580993408473766, a * x) + b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.Dropout1d(0.4), (300, 5)), (nn.Dropout3d(0.4), (300, 2, 2, 3)), (nn.FeatureAlphaDropout(0.4), (300, 3, 2)),
])  # fmt: skip
def test_whole_channels_are_dropped(layer, shape):
    _, grad = drawn(layer, np.ones((20, *shape)))
    grad = grad.reshape(20, 300, -1)
    assert (grad == grad[:, :, :1]).all()
    assert (grad[:, :, 0] == 0.0).mean() == pytest.approx(0.4, abs=0.02)


def test_rows_of_other_axes_are_refused():
    cases = [(nn.Dropout1d(), (3,), r"\(channels, length\)"), (nn.Dropout3d(), (3, 4), "depth, height, width"),
             (nn.FeatureAlphaDropout(), (), r"\(channels, ...\), got \(N,\)")]  # fmt: skip
    for layer, shape, names in cases:
        with pytest.raises(nn.ShapeError, match=names):
            layer.place(shape)


def test_noise_is_normal():
    out, grad = drawn(nn.GaussianNoise(0.5), np.full(MANY, 2.0))
    noise = (out - 2.0) / 0.5
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert (noise**4).mean() == pytest.approx(3.0, abs=0.1)
    assert (abs(noise) > 1.959964).mean() == pytest.approx(0.05, abs=0.002)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.01
    assert (grad == 1.0).all()


def test_a_normal_number_is_that_of_box_and_muller():
    for counter in range(50):
        u = (float(uniform_bits(7, 2 * counter)) + 1.0) / 2**32
        v = float(uniform_bits(7, 2 * counter + 1)) / 2**32
        expected = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * (v - 0.5))
        assert normal(7, counter) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "kernel", "count", "image"), [
    ("FractionalMaxPool2d", (2, 3), (4, 3), (9, 8)), ("FractionalMaxPool2d", 2, (1, 5), (6, 6)),
    ("FractionalMaxPool3d", 2, (3, 2, 4), (7, 5, 6)),
])  # fmt: skip
def test_windows_that_are_drawn_are_those_of_torch(name, kernel, count, image):
    torch = pytest.importorskip("torch")
    channels, seed = 3, 12345678901234
    layer = getattr(nn, name)(kernel, count).place((channels, *image)).layer
    x = np.random.default_rng(0).normal(size=(channels, *image))
    rows = np.repeat(x.reshape(1, *layer._built.views["x"])[..., None], 8, axis=-1)  # one block
    out, place = (np.empty((1, *layer._built.views["out"], 8)) for _ in range(2))
    spans = layer.spans_d, layer.spans_h, layer.spans_w
    sizes = layer.kernel_d, layer.kernel_h, layer.kernel_w
    work = np.empty(layer._built.workspace["drawn"].shape, np.int64)
    layer.forward(rows, True, seed, *spans, *sizes, work, place, out)
    draws = np.array([[float(uniform_bits(seed, 3 * c + axis)) / 2**32 for axis in range(3)] for c in range(channels)])
    draws = draws[:, [2, 1]] if len(image) == 2 else draws  # of the columns first, where there are two axes
    theirs = getattr(torch.nn, name)(kernel, count, _random_samples=torch.tensor(draws[None]))
    given = torch.tensor(x[None], requires_grad=True)
    expected = theirs(given)
    np.testing.assert_array_equal(out[0, ..., 0].reshape(expected.shape[1:]), expected[0].detach().numpy())
    grad_out = np.random.default_rng(1).normal(size=out.shape)
    grad_x = np.empty_like(rows)
    layer.backward(grad_out, True, seed, *spans, *sizes, work, place, grad_x)
    expected.backward(torch.tensor(grad_out[..., 0].reshape(expected.shape)))
    np.testing.assert_allclose(grad_x[0, ..., 0].reshape(x.shape), given.grad[0].numpy(), rtol=1e-12)


def test_windows_lie_elsewhere_in_every_step_and_in_the_middle_out_of_training():
    x = np.random.default_rng(0).normal(size=(5, 2, 9, 9))
    model = nn.Sequential([nn.FractionalMaxPool2d(2, output_ratio=0.6)]).build((2, 9, 9), random_state=0)
    assert model.out_shape == (2, 5, 5)
    first, second = (model.forward(x, training=True).copy() for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(model.predict(x), model.predict(x))
