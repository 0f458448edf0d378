"""Every part that PyTorch has too computes what PyTorch computes: outputs, gradients, steps (learning rates: tests/foreign)."""

import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(5)
# Functions of float32 are off by 1.5e-6 at most (nnkit.kernels.math); sums of up to 70 numbers, on both sides, by 70 units in
# the last place of 1.2e-7 together.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)

ACTIVATIONS = [
    (nn.Identity(), torch.nn.Identity()),
    (nn.Sigmoid(), torch.nn.Sigmoid()),
    (nn.Tanh(), torch.nn.Tanh()),
    (nn.ReLU(), torch.nn.ReLU()),
    (nn.ReLU6(), torch.nn.ReLU6()),
    (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
    (nn.PReLU(), torch.nn.PReLU()),
    (nn.PReLU(4, 0.1), torch.nn.PReLU(4, 0.1)),
    (nn.ELU(0.7), torch.nn.ELU(0.7)),
    (nn.SELU(), torch.nn.SELU()),
    (nn.CELU(2.0), torch.nn.CELU(2.0)),
    (nn.GELU(), torch.nn.GELU()),
    (nn.GELU("tanh"), torch.nn.GELU("tanh")),
    (nn.SiLU(), torch.nn.SiLU()),
    (nn.Mish(), torch.nn.Mish()),
    (nn.Softplus(2.0), torch.nn.Softplus(2.0, threshold=1000)),
    (nn.Softsign(), torch.nn.Softsign()),
    (nn.Hardtanh(-0.5, 2.0), torch.nn.Hardtanh(-0.5, 2.0)),
    (nn.Hardswish(), torch.nn.Hardswish()),
    (nn.LogSigmoid(), torch.nn.LogSigmoid()),
    (nn.Tanhshrink(), torch.nn.Tanhshrink()),
    (nn.Softmax(), torch.nn.Softmax(dim=-1)),
    (nn.LogSoftmax(), torch.nn.LogSoftmax(dim=-1)),
    (nn.Dropout(0.5), torch.nn.Dropout(0.5).eval()),
]


def close(got, expected, dtype):
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def tensor(array, **options):
    return torch.tensor(np.asarray(array), **options)


@dtypes
@pytest.mark.parametrize(("ours", "theirs"), ACTIVATIONS)
def test_activation_equals_torchs(ours, theirs, dtype):
    theirs = theirs.to(getattr(torch, dtype))
    x = RANDOM.normal(scale=3.0, size=(6, 4)).astype(dtype)
    grad_out = RANDOM.normal(size=(6, 4)).astype(dtype)
    model = nn.Sequential([ours]).build((4,), dtype=dtype)
    for parameter, array in zip(theirs.parameters(), model.parameters().values(), strict=True):
        parameter.grad, parameter.data = None, tensor(array.copy())
    x_torch = tensor(x, requires_grad=True)
    out = theirs(x_torch)
    out.backward(tensor(grad_out))
    close(model.forward(x), out, dtype)
    close(model.backward(grad_out), x_torch.grad, dtype)
    for ours_grad, parameter in zip(model.gradients().values(), theirs.parameters(), strict=True):
        close(ours_grad, parameter.grad, dtype)


@dtypes
def test_hardsigmoid_equals_torchs(dtype):
    """To float32 only: there PyTorch computes 1 / 6."""
    x = RANDOM.normal(scale=3.0, size=(6, 4)).astype(dtype)
    x_torch = tensor(x, requires_grad=True)
    out = torch.nn.Hardsigmoid()(x_torch)
    out.sum().backward()
    model = nn.Sequential([nn.Hardsigmoid()]).build((4,), dtype=dtype)
    close(model.forward(x), out, "float32")
    close(model.backward(np.ones_like(x)), x_torch.grad, "float32")


@dtypes
@pytest.mark.parametrize("in_shape", [(7,), (2, 7), (3, 2, 7)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["with bias", "without bias"])
def test_linear_equals_torchs(in_shape, bias, dtype):
    model = nn.Sequential([nn.Linear(5, bias=bias)]).build(in_shape, random_state=0, dtype=dtype)
    theirs = torch.nn.Linear(7, 5, bias=bias, dtype=getattr(torch, dtype))
    with torch.no_grad():
        theirs.weight[:] = tensor(model.parameters()["0.weight"].T.copy())
        if bias:
            model.parameters()["0.bias"][:] = RANDOM.normal(size=5)
            theirs.bias[:] = tensor(model.parameters()["0.bias"].copy())
    x, grad_out = RANDOM.normal(size=(6, *in_shape)).astype(dtype), RANDOM.normal(size=(6, *in_shape[:-1], 5)).astype(dtype)
    x_torch = tensor(x, requires_grad=True)
    out = theirs(x_torch)
    out.backward(tensor(grad_out))
    close(model.forward(x), out, dtype)
    close(model.backward(grad_out), x_torch.grad, dtype)
    close(model.gradients()["0.weight"], theirs.weight.grad.T, dtype)
    if bias:
        close(model.gradients()["0.bias"], theirs.bias.grad, dtype)


def uniform(low, high, shape=(6, 4)):
    return RANDOM.uniform(low, high, shape)


def distributions(shape=(6, 4)):
    raw = RANDOM.uniform(0.1, 1.0, shape)
    return raw / raw.sum(axis=-1, keepdims=True)


LABELS = RANDOM.integers(0, 4, 6)
F = torch.nn
LOSSES = [
    (nn.MSELoss, {}, F.MSELoss, {}, uniform(-2, 2), uniform(-2, 2)),
    (nn.L1Loss, {}, F.L1Loss, {}, uniform(-2, 2), uniform(-2, 2)),
    (nn.HuberLoss, {"delta": 0.7}, F.HuberLoss, {"delta": 0.7}, uniform(-2, 2), uniform(-2, 2)),
    (nn.SmoothL1Loss, {"beta": 0.7}, F.SmoothL1Loss, {"beta": 0.7}, uniform(-2, 2), uniform(-2, 2)),
    (nn.BCELoss, {}, F.BCELoss, {}, uniform(0.05, 0.95), uniform(0, 1)),
    (nn.BCEWithLogitsLoss, {}, F.BCEWithLogitsLoss, {}, uniform(-4, 4), uniform(0, 1)),
    (nn.CrossEntropyLoss, {}, F.CrossEntropyLoss, {}, uniform(-4, 4), LABELS),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.2}, F.CrossEntropyLoss, {"label_smoothing": 0.2}, uniform(-4, 4), LABELS),
    (nn.CrossEntropyLoss, {}, F.CrossEntropyLoss, {}, uniform(-4, 4), distributions()),
    (nn.NLLLoss, {}, F.NLLLoss, {}, np.log(distributions()), LABELS),
    (nn.PoissonNLLLoss, {}, F.PoissonNLLLoss, {}, uniform(-2, 2), uniform(0, 5)),
    (nn.PoissonNLLLoss, {"log_input": False}, F.PoissonNLLLoss, {"log_input": False}, uniform(0.2, 3), uniform(0, 5)),
]


@dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("ours", "options", "theirs", "their_options", "prediction", "target"), LOSSES)
def test_loss_equals_torchs(ours, options, theirs, their_options, prediction, target, reduction, dtype):
    compare_loss(ours(**options, reduction=reduction), theirs(**their_options, reduction=reduction), prediction, target, dtype)


@dtypes
@pytest.mark.parametrize(("reduction", "theirs"), [("mean", "batchmean"), ("sum", "sum")])
def test_kl_divergence_equals_torchs(reduction, theirs, dtype):
    prediction, target = np.log(distributions()), distributions()
    compare_loss(nn.KLDivLoss(reduction=reduction), torch.nn.KLDivLoss(reduction=theirs), prediction, target, dtype)


def compare_loss(ours, theirs, prediction, target, dtype):
    prediction = prediction.astype(dtype)
    target = target.astype(dtype) if target.dtype.kind == "f" else target
    p = tensor(prediction, requires_grad=True)
    expected = theirs(p, tensor(target))
    expected.backward()
    loss, grad = ours(prediction, target)
    close(loss, expected, dtype)
    close(grad, p.grad, dtype)


@dtypes
def test_gaussian_nll_equals_torchs_of_the_exponential(dtype):
    prediction, target = uniform(-1, 1, (6, 4)).astype(dtype), uniform(-1, 1, (6, 2)).astype(dtype)
    p = tensor(prediction, requires_grad=True)
    expected = torch.nn.GaussianNLLLoss(eps=1e-30)(p[:, :2], tensor(target), p[:, 2:].exp())
    expected.backward()
    loss, grad = nn.GaussianNLLLoss()(prediction, target)
    close(loss, expected, dtype)
    close(grad, p.grad, dtype)


@dtypes
def test_cross_entropy_of_many_axes_equals_torchs(dtype):
    prediction, labels = uniform(-3, 3, (5, 2, 4)).astype(dtype), RANDOM.integers(0, 4, (5, 2))
    p = tensor(prediction, requires_grad=True)
    expected = torch.nn.CrossEntropyLoss()(p.movedim(-1, 1), tensor(labels))
    expected.backward()
    loss, grad = nn.CrossEntropyLoss()(prediction, labels)
    close(loss, expected, dtype)
    close(grad, p.grad, dtype)


T = torch.optim
OPTIMIZERS = [
    (nn.SGD(0.1), T.SGD, {}),
    (nn.SGD(0.1, momentum=0.9), T.SGD, {"momentum": 0.9}),
    (nn.SGD(0.1, momentum=0.9, nesterov=True), T.SGD, {"momentum": 0.9, "nesterov": True}),
    (nn.SGD(0.1, momentum=0.9, weight_decay=0.1), T.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (nn.Adagrad(0.1), T.Adagrad, {}),
    (nn.Adagrad(0.1, weight_decay=0.1), T.Adagrad, {"weight_decay": 0.1}),
    (nn.RMSprop(0.01), T.RMSprop, {}),
    (nn.RMSprop(0.01, momentum=0.9, weight_decay=0.1), T.RMSprop, {"momentum": 0.9, "weight_decay": 0.1}),
    (nn.Adam(0.01), T.Adam, {}),
    (nn.Adam(0.01, betas=(0.8, 0.95), weight_decay=0.1), T.Adam, {"betas": (0.8, 0.95), "weight_decay": 0.1}),
    (nn.AdamW(0.01), T.AdamW, {}),
    (nn.AdamW(0.01, weight_decay=0.3), T.AdamW, {"weight_decay": 0.3}),
    (nn.NAdam(0.01), T.NAdam, {}),
    (nn.NAdam(0.01, weight_decay=0.1), T.NAdam, {"weight_decay": 0.1}),
    (nn.RAdam(0.01), T.RAdam, {}),
    (nn.RAdam(0.01, weight_decay=0.1), T.RAdam, {"weight_decay": 0.1}),
    (nn.Adam(0.01, clip_norm=0.5), T.Adam, {"clip_norm": 0.5}),
    (nn.SGD(0.1, clip_value=0.05), T.SGD, {"clip_value": 0.05}),
    (nn.SGD(0.1, clip_norm=0.5, weight_decay=0.1), T.SGD, {"clip_norm": 0.5, "weight_decay": 0.1}),
]


@pytest.fixture
def torch_dtype(dtype):
    """PyTorch's optimizers keep their scalars in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    yield
    torch.set_default_dtype(before)


@dtypes
@pytest.mark.usefixtures("torch_dtype")
@pytest.mark.parametrize(("ours", "theirs", "options"), OPTIMIZERS)
def test_ten_steps_equal_torchs(ours, theirs, options, dtype):
    options = dict(options)
    clip_norm, clip_value = options.pop("clip_norm", None), options.pop("clip_value", None)
    model = nn.Sequential([nn.Linear(5), nn.Linear(2)]).build((3,), random_state=0, dtype=dtype)
    twins = [tensor(array.copy(), requires_grad=True) for array in model.parameters().values()]
    twin = theirs(twins, lr=ours.lr, **options)
    for _ in range(10):
        for array, parameter in zip(model.gradients().values(), twins, strict=True):
            array[...] = RANDOM.normal(size=array.shape)
            parameter.grad = tensor(array.copy())
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(twins, clip_norm)
        if clip_value:
            torch.nn.utils.clip_grad_value_(twins, clip_value)
        twin.step()
        ours.step(model)
    tolerance = {"float32": 2e-5, "float64": 1e-7 if clip_norm else 1e-10}[dtype]  # torch adds 1e-6 to the norm
    for array, parameter in zip(model.parameters().values(), twins, strict=True):
        np.testing.assert_allclose(array, parameter.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_lion_is_the_sign_of_a_mean():
    """PyTorch has no Lion: algorithm 2 of the paper, written out."""
    model = nn.Sequential([nn.Linear(4)]).build((3,), random_state=0, dtype="float64")
    value, m = network_of(model).vector.copy(), np.zeros(network_of(model).vector.size)
    optimizer = nn.Lion(0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(10):
        grad = RANDOM.normal(size=value.size)
        network_of(model).gradient[:] = grad
        optimizer.step(model)
        value = value - 0.01 * (np.sign(0.9 * m + 0.1 * grad) + 0.1 * value)
        m = 0.99 * m + 0.01 * grad
    np.testing.assert_allclose(network_of(model).vector, value, rtol=1e-12)


@pytest.mark.parametrize("net", ["classifier", "regressor"])
def test_training_a_net_equals_torchs(net):
    """Thirty steps of Adam in float64, the whole way: forward, loss, backward, update."""
    X = RANDOM.normal(size=(60, 8))
    classes = net == "classifier"
    y = RANDOM.integers(0, 3, 60) if classes else RANDOM.normal(size=(60, 3))
    model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(3)]).build((8,), random_state=0, dtype="float64")
    twin = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), model.parameters().values(), strict=True):
            parameter[:] = tensor(array.T.copy())
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    criterion = torch.nn.CrossEntropyLoss() if classes else torch.nn.MSELoss()
    losses = []
    for _ in range(10):
        epoch = []
        for start in range(0, 60, 20):
            optimizer.zero_grad()
            loss = criterion(twin(tensor(X[start : start + 20])), tensor(y[start : start + 20]))
            loss.backward()
            optimizer.step()
            epoch.append(loss.item())
        losses.append(np.mean(epoch))
    history = model.fit(X, y, loss="cross_entropy" if classes else "mse", optimizer=nn.Adam(0.01), epochs=10, batch_size=20,
                        shuffle=False)  # fmt: skip
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), twin(tensor(X)).detach().numpy(), rtol=1e-7, atol=1e-9)
