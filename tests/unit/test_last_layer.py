"""One warning at the start of a fit whose loss does not fit the last layer; none where it does."""

import inspect
import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

X = np.random.default_rng(0).uniform(-1, 1, (12, 4))
CODES, YES = np.arange(12) % 3, (np.arange(12) % 2)[:, None]

CLASSES = {"cross_entropy", "nll"}
TARGETS = {"kl_div": np.full((12, 3), 1 / 3), "hinge": 2.0 * np.repeat(YES, 3, axis=1) - 1, "gaussian_nll": X[:, :1]}


def told(layers, loss, y, **options):
    """What a fit warns of, with the lines that it points at."""
    model = nn.Sequential(layers)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y, loss=loss, epochs=1, batch_size=12, optimizer=nn.SGD(1e-6), **options)
            line = inspect.currentframe().f_lineno - 1
        except nn.NonFiniteError:
            line = None
    for item in caught:
        assert item.category is nn.TrainingWarning and item.filename == __file__
        assert line is None or item.lineno == line
    return [str(item.message) for item in caught]


def ending(last, loss):
    """A net that ends with this activation, and targets."""
    key = loss if isinstance(loss, str) else loss.key
    width = 2 if key == "gaussian_nll" else 3
    y = CODES if key in CLASSES else TARGETS.get(key, np.repeat(YES, 3, axis=1))
    return [nn.Linear(width), *([] if last is None else [last])], loss, y


WRONG = [
    (nn.Softmax(), "cross_entropy", r"CrossEntropyLoss\(\) expects any real numbers or numbers of at most 0 whose exponentials "
     r"add up to 1, and Softmax\(\), the last layer, gives numbers from 0 to 1 that add up to 1; leave the activation out: the "
     r"loss takes the softmax itself"),
    (nn.ReLU(), "cross_entropy", "gives numbers of at least 0; leave the activation out"),
    (nn.Sigmoid(), "cross_entropy", "gives numbers from 0 to 1; leave"),
    (nn.Tanh(), "cross_entropy", "gives numbers from -1 to 1; leave"),
    (nn.GELU(), "cross_entropy", "gives numbers of at least -0.169971; leave"),
    (nn.LeakyReLU(0.0), "cross_entropy", "gives numbers of at least 0; leave"),
    (nn.Softmax(), "nll", r"NLLLoss\(\) expects numbers of at most 0 whose exponentials add up to 1, and Softmax\(\), .*; end "
     r"with LogSoftmax\(\), or without an activation and loss='cross_entropy'"),
    (None, "nll", r"and Linear\(out_features=3\), the last layer, gives any real numbers; end with LogSoftmax"),
    (nn.LogSigmoid(), "nll", "gives numbers of at most 0; end with LogSoftmax"),
    (None, "kl_div", "gives any real numbers; end with LogSoftmax"),
    (nn.Sigmoid(), "bce_with_logits", "leave the activation out: the loss takes the sigmoid itself"),
    (nn.LogSigmoid(), "bce_with_logits", "leave the activation out"),
    (None, "bce", r"expects numbers from 0 to 1, and Linear.*; end with Sigmoid\(\), or without .* loss='bce_with_logits'"),
    (nn.Tanh(), "bce", r"end with Sigmoid\(\)"),
    (nn.Tanh(), "poisson_nll", "leave the activation out: the loss takes logarithms of rates"),
    (None, nn.PoissonNLLLoss(log_input=False), r"expects numbers of at least 0, .*; end with Softplus\(\)"),
    (nn.Sigmoid(), nn.PoissonNLLLoss(log_input=False), r"end with Softplus\(\)"),
    (nn.ReLU(), "gaussian_nll", "log-variances are any real numbers"),
    (nn.Sigmoid(), "hinge", r"expects any real numbers or numbers from -1 to 1, .*; leave .* out, or take Tanh\(\)"),
]  # fmt: skip

RIGHT = [
    (None, "cross_entropy"), (nn.LogSoftmax(), "cross_entropy"), (nn.LeakyReLU(), "cross_entropy"), (nn.LogSoftmax(), "nll"),
    (nn.PReLU(), "cross_entropy"), (nn.Identity(), "cross_entropy"), (nn.LogSoftmax(), "kl_div"), (None, "bce_with_logits"),
    (nn.Sigmoid(), "bce"), (nn.Hardsigmoid(), "bce"), (nn.Softmax(), "bce"), (nn.Hardtanh(0.0, 1.0), "bce"),
    (None, "poisson_nll"), (nn.ReLU(), nn.PoissonNLLLoss(log_input=False)), (nn.Softplus(), nn.PoissonNLLLoss(log_input=False)),
    (None, "hinge"), (nn.Tanh(), "hinge"), (None, "gaussian_nll"), (None, "mse"), (nn.ReLU(), "mse"), (nn.Sigmoid(), "mse"),
    (nn.Softmax(), "mse"), (nn.Tanh(), "huber"),
]  # fmt: skip


@pytest.mark.parametrize(("last", "loss", "message"), WRONG)
def test_a_loss_that_does_not_fit_is_told_once(last, loss, message):
    said = told(*ending(last, loss))
    assert len(said) == 1 and said[0].startswith("fit: ")
    with pytest.raises(nn.TrainingWarning, match=message):
        raise nn.TrainingWarning(said[0])


@pytest.mark.parametrize(("last", "loss"), RIGHT)
def test_a_loss_that_fits_is_not(last, loss):
    assert told(*ending(last, loss)) == []


def test_what_gives_another_shape_alone_is_looked_through():
    inner = nn.Sequential([nn.Linear(6), nn.Sigmoid(), nn.Reshape((2, 3))])
    y = np.stack([CODES, CODES], axis=1)
    assert "Sigmoid(), the last layer" in told([inner, nn.Flatten(), nn.Reshape((2, 3))], "cross_entropy", y)[0]
    assert "Sigmoid(), the last layer" in told([inner], "cross_entropy", y)[0]
    assert "Sigmoid(), the last layer" in told([nn.Linear(3), nn.Sigmoid(), nn.Flatten()], "cross_entropy", CODES)[0]
    assert told([nn.Linear(3), nn.Residual(nn.Linear(3), nn.Sigmoid())], "cross_entropy", CODES) == []  # nobody knows


def test_recurrent_layers_and_convolutions_say_what_they_give():
    steps = X[:, :, None]
    model = nn.Sequential([nn.LSTM(3)])
    with pytest.warns(nn.TrainingWarning, match=r"LSTM\(.*gives numbers from -1 to 1"):
        model.fit(steps, CODES, loss="cross_entropy", epochs=1)
    with pytest.warns(nn.TrainingWarning, match=r"RNN\(.*gives numbers of at least 0"):
        nn.Sequential([nn.RNN(3, nonlinearity="relu")]).fit(steps, CODES, loss="cross_entropy", epochs=1)
    net = nn.Sequential([nn.Conv1d(1, kernel_size=4, weight_init="ones"), nn.Flatten()])  # so that rates are above 0
    with pytest.warns(nn.TrainingWarning, match=r"Conv1d\(.*gives any real numbers; end with Softplus"):
        net.fit(np.abs(X[:, None, :]), YES, loss=nn.PoissonNLLLoss(log_input=False), epochs=1, optimizer=nn.SGD(1e-9))


def test_one_class_alone():
    message = "expects an output for each class, and the net has one alone, so that its loss is always the same"
    zeros = np.zeros(12, np.int64)
    (said,) = told([nn.Linear(1)], "cross_entropy", zeros)
    assert message in said and "bce_with_logits" in said
    (said,) = told([nn.Linear(1), nn.Softmax()], "cross_entropy", zeros)
    assert message in said
    (said,) = told([nn.Linear(1), nn.Softmax()], "mse", YES)
    assert "Softmax(), the last layer, has one number a row to add up to 1: its output is always the same" in said


def several(layers, loss, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nn.Sequential(layers).fit(X, y, loss=loss, epochs=1, optimizer=nn.SGD(1e-6))
    return [str(item.message) for item in caught]


def test_each_head_is_looked_at():
    heads = nn.Heads(kind=[nn.Linear(3), nn.Softmax(), nn.Reshape((3,))], yes=[nn.Linear(1), nn.Sigmoid()], size=nn.Linear(1))
    y = {"kind": CODES, "yes": YES.astype(float), "size": X[:, :1]}
    kind, yes = several([heads], {"kind": "cross_entropy", "yes": "bce_with_logits", "size": "mse"}, y)
    assert kind.startswith("fit: kind: CrossEntropyLoss() expects") and "Softmax(), the last layer" in kind
    assert yes.startswith("fit: yes: BCEWithLogitsLoss() expects") and "Sigmoid(), the last layer" in yes
    right = nn.Heads(kind=nn.Linear(3), yes=[nn.Linear(1), nn.Sigmoid()], size=nn.Linear(1))
    assert several([nn.Sequential([nn.Linear(4), right])], {"kind": "cross_entropy", "yes": "bce", "size": "mse"}, y) == []


def test_outputs_of_a_graph_are_looked_at_by_their_names():
    steps = {"h": ("x", [nn.Linear(3), nn.Softmax()]), "kind": ("h", nn.Linear(3)), "both": (("h", "kind"), nn.Add())}
    y = {"h": CODES, "kind": CODES, "both": CODES}
    (said,) = several([nn.Graph(**steps, outputs=("kind", "h", "both"))], "cross_entropy", y)
    assert said.startswith("fit: h: ")
    (said,) = told([nn.Graph(**steps, outputs="h")], "cross_entropy", CODES)
    assert said.startswith("fit: CrossEntropyLoss() expects")
    assert told([nn.Branches([nn.Linear(3), nn.Softmax()], nn.Linear(3), merge="add")], "cross_entropy", CODES) == []


def test_a_part_of_ones_own_may_say_it():
    class Root(nn.Activation):
        gives = nn.Span(0.0)

        @staticmethod
        def forward(x):
            return abs(x) ** 0.5

        @staticmethod
        def backward(grad_out, x):
            return grad_out

    class Rate(nn.Loss):
        expects = (nn.Span(0.0),)
        advice = "end with Root()"

        @staticmethod
        def forward(prediction, target):
            return (prediction - target) ** 2.0

        @staticmethod
        def backward(prediction, target):
            return 2.0 * (prediction - target)

    class Silent(Root):
        gives = None

    assert told([nn.Linear(1), Root()], Rate(), YES) == []
    assert told([nn.Linear(1), Silent()], Rate(), YES) == []
    assert "expects numbers of at least 0, and Linear" in (said := told([nn.Linear(1)], Rate(), YES)[0]) and "Root()" in said
    assert "Root(), the last layer, gives numbers of at least 0" in told([nn.Linear(3), Root()], "cross_entropy", CODES)[0]


def test_an_error_of_it_comes_before_training():
    model = nn.Sequential([nn.Linear(3), nn.Softmax()]).build((4,), random_state=0)
    before = network_of(model).vector.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(nn.TrainingWarning):
            model.fit(X, CODES, loss="cross_entropy")
    np.testing.assert_array_equal(network_of(model).vector, before)


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_estimators_refuse_what_their_linear_output_cannot_give(make):
    with pytest.raises(nn.ParameterError, match=r"is linear, and gives any real numbers, not numbers of at least 0"):
        make(loss=nn.PoissonNLLLoss(log_input=False)).fit(X, CODES)
