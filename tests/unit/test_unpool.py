"""Max unpooling: PyTorch's numbers of the indices that its max pool gives, for windows of all kinds."""

import warnings

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # where windows overlap, the order in which PyTorch writes is then that of the windows
CASES = [
    # of kernel size, stride, padding, ceil_mode; and the shape of a row
    (1, (2,), {}, (3, 7)),
    (1, (3, 1), {}, (2, 8)),  # overlapping
    (1, (4, 3, 2), {}, (2, 9)),
    (1, (3, 2, 1), {"ceil_mode": True}, (1, 8)),
    (2, (2,), {}, (3, 5, 6)),
    (2, ((3, 2), (1, 2), (1, 0)), {}, (2, 5, 6)),
    (2, (3, 2, 1), {}, (2, 7, 8)),  # overlapping, with padding
    (2, (3, 5), {}, (1, 9, 8)),  # with gaps
    (2, (2, None, 1), {"ceil_mode": True}, (2, 4, 5)),
    (3, (2,), {}, (2, 4, 5, 3)),
    (3, ((2, 3, 2), (1, 2, 1), (1, 1, 0)), {}, (2, 3, 6, 4)),
]
IDS = [f"{dims}d {sizes} {options} of {shape}" for dims, sizes, options, shape in CASES]


def both(dims, sizes, in_shape, values, name="MaxUnpool"):
    """Ours and theirs for values and pooled arrays of these shapes."""
    ours = nn.Sequential([getattr(nn, f"{name}{dims}d")(*sizes)])
    return ours.build({"values": values, "pooled": in_shape}, dtype="float64"), getattr(torch.nn, f"{name}{dims}d")(*sizes)


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize(("dims", "sizes", "options", "in_shape"), CASES, ids=IDS)
def test_unpooling_equals_torchs(dims, sizes, options, in_shape, ties):
    """Bit for bit: numbers are copied, not computed."""
    random = np.random.default_rng(0)
    pooled = random.normal(size=(19, *in_shape))
    pooled = np.round(pooled) if ties else pooled
    pool = getattr(torch.nn, f"MaxPool{dims}d")(*sizes, return_indices=True, **options)
    small, indices = pool(torch.tensor(pooled))
    values = torch.tensor(random.normal(size=small.shape), requires_grad=True)
    ours, theirs = both(dims, sizes, in_shape, tuple(small.shape[1:]))
    expected = theirs(values, indices, output_size=pooled.shape)
    grad_out = random.normal(size=pooled.shape)
    expected.backward(torch.tensor(grad_out))
    given = {"values": values.detach().numpy(), "pooled": pooled}
    assert (ours.forward(given, training=True) == expected.detach().numpy()).all()
    grads = ours.backward(grad_out)
    assert (grads["values"] == values.grad.numpy()).all()
    assert not grads["pooled"].any()
    assert (ours.predict(given) == expected.detach().numpy()).all()
    assert (ours.copy().predict({name: array.astype("float32") for name, array in given.items()}).shape) == pooled.shape


def test_the_last_of_several_windows_counts_and_all_get_the_gradient():
    ours, _ = both(1, (2, 1), (1, 3), (1, 2))
    given = {"values": [[[5.0, 7.0]]], "pooled": [[[0.0, 1.0, 0.0]]]}
    assert ours.forward(given, training=True).tolist() == [[[0.0, 7.0, 0.0]]]
    assert ours.backward([[[1.0, 2.0, 3.0]]])["values"].tolist() == [[[2.0, 2.0]]]


def test_not_a_number_is_the_largest():
    pooled = torch.tensor([[[1.0, float("nan"), 3.0, float("nan"), float("-inf"), float("-inf")]]])
    for size in (2, 3):
        small, indices = torch.nn.functional.max_pool1d(pooled, size, return_indices=True)
        values = torch.arange(1.0, 1.0 + small.numel()).reshape(small.shape)
        ours, theirs = both(1, (size,), (1, 6), tuple(small.shape[1:]))
        assert (ours.predict({"values": values.numpy(), "pooled": pooled.numpy()}) == theirs(values, indices).numpy()).all()


def segnet():
    """Two max pools down and two unpools up again, each to where its pool has found what it gave."""
    return nn.Graph(
        fine=("x", [nn.Conv2d(6, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]),
        half=("fine", nn.MaxPool2d(2)),
        rough=("half", [nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]),
        quarter=("rough", nn.MaxPool2d(3, 2, 1)),
        code=("quarter", [nn.Conv2d(8, 3, padding=1), nn.ReLU()]),
        up=(("code", "rough"), nn.MaxUnpool2d(3, 2, 1)),
        back=("up", [nn.Conv2d(6, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]),
        whole=(("back", "fine"), nn.MaxUnpool2d(2)),
        out=("whole", nn.Conv2d(1, 3, padding=1)),
    )


def squares(rows):
    """Images with a bright square each, in noise; which pixels are the square's."""
    random = np.random.default_rng(3)
    y = np.zeros((rows, 1, 9, 10), "float32")
    for image in y[:, 0]:
        top, left, size = random.integers(0, 5), random.integers(0, 6), random.integers(3, 5)
        image[top : top + size, left : left + size] = 1.0
    return (y + random.normal(scale=0.3, size=y.shape)).astype("float32"), y


def trained(n_threads=None):
    X, y = squares(200)
    model = nn.Sequential([segnet()])
    history = model.fit(X, y, loss="bce_with_logits", optimizer=nn.Adam(lr=0.01), epochs=20, batch_size=25, random_state=0,
                        progress=False, n_threads=n_threads)  # fmt: skip
    return model, history, X, y


@pytest.fixture(scope="module")
def fitted():
    return trained()


def test_a_segmenting_net_learns(fitted):
    model, history, X, y = fitted
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    wrong = ((model.predict(X) > 0.0) != (y > 0.5)).mean()
    assert wrong < 0.5 * y.mean()  # which is wrong where all is background


def test_threads_do_not_matter(fitted):
    model, other = fitted[0], trained(n_threads=1)[0]
    assert all((array == other.parameters()[name]).all() for name, array in model.parameters().items())


def test_a_segmenting_net_is_saved(fitted, tmp_path):
    model, _, X, _ = fitted
    model.save(tmp_path / "net.safetensors")
    assert (nn.load(tmp_path / "net.safetensors").predict(X) == model.predict(X)).all()


def test_a_segmenting_net_is_written_in_onnx(fitted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, _, X, _ = fitted
    nn.onnx.export(model, tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    for rows in (1, 7):
        (out,) = session.run(None, {"x": X[:rows]})
        np.testing.assert_allclose(out, model.predict(X[:rows]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dims", "sizes", "options", "in_shape"), CASES, ids=IDS)
def test_unpooling_is_written_in_onnx(dims, sizes, options, in_shape, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pool, unpool = (getattr(nn, f"{name}{dims}d") for name in ("MaxPool", "MaxUnpool"))
    net = nn.Graph(small=("x", [pool(*sizes, **options), nn.Tanh()]),
                   out=(("small", "x"), unpool(*sizes)))  # fmt: skip
    model = nn.Sequential([net]).build(in_shape)
    X = np.random.default_rng(0).normal(size=(5, *in_shape)).astype("float32")
    nn.onnx.export(model, tmp_path / "net.onnx")
    (out,) = runtime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": X})
    np.testing.assert_allclose(out, model.predict(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layer", "values", "pooled", "message"), [
    (nn.MaxUnpool2d(2), (1, 2, 2), (1, 6, 4), r"rows of shape \(1, 3, 2\) for \(1, 6, 4\), got \(1, 2, 2\)"),
    (nn.MaxUnpool2d(2), (2, 3, 2), (1, 6, 4), "what the max pool has read"),
    (nn.MaxUnpool2d(2), (3, 2), (6, 4), r"\(channels, height, width\), got \(6, 4\)"),
    (nn.MaxUnpool1d(2), (1, 2**23 + 1), (1, 2**24 + 2), "at most 16777216 places"),
    (nn.MaxUnpool3d(4), (1, 1, 1, 1), (1, 3, 4, 4), "at least as large as the window"),
])  # fmt: skip
def test_values_that_do_not_fit_are_refused(layer, values, pooled, message):
    with pytest.raises(nn.ShapeError, match=message):
        nn.Sequential([layer]).build({"values": values, "pooled": pooled})


def test_wrong_sizes_are_refused():
    for make, message in ((lambda: nn.MaxUnpool2d(2, padding=2), "at most half"), (lambda: nn.MaxUnpool1d(0), "kernel_size"),
                          (lambda: nn.MaxUnpool3d(2, (1, 1)), "stride")):  # fmt: skip
        with pytest.raises(nn.ParameterError, match=message):
            make()


@pytest.mark.parametrize("layer", [nn.MaxPool1d(2), nn.AdaptiveMaxPool1d(2)], ids=repr)
def test_places_that_float32_cannot_tell_apart_are_refused(layer):
    with pytest.raises(nn.ShapeError, match="at most 16777216 places in a channel"):
        nn.Sequential([layer]).build((1, 2**24 + 2))
