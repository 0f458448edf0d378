"""Hyper-parameters that are more than a number: tuples, lists, arrays and None, in every kind of part."""

import copy
import enum
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import nnkit as nn
from nnkit.core.part import Example
from nnkit.engine.stub import statistics
from nnkit.testing import check_activation, check_layer, check_loss, check_optimizer

WEIGHTS = [(0.5, 2.0, 1.0), (1, 2, 3), [0.5, 2.0, 1.0], [1, 2, 3], np.array([0.5, 2.0, 1.0]), np.float32([0.5, 2.0, 1.0]),
           tuple(0.5 + 0.25 * k for k in range(12)), (True, False, True), np.array([True, False, True]), None]  # fmt: skip


class Kind(enum.Enum):
    SUM = 1


class WeightedError(nn.Loss):
    """Squared error of the logit of each row's class, times the weight of the class."""

    rowwise = classes = True

    def __init__(self, *, class_weight=None, reduction="mean"):
        self.class_weight = class_weight
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, label, class_weight):
        weight = 1.0
        if class_weight is not None:
            weight = class_weight[label]
        return weight * prediction[label] ** 2

    @staticmethod
    def backward(prediction, label, class_weight, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        weight = 1.0
        if class_weight is not None:
            weight = class_weight[label]
        grad_prediction[label] = 2.0 * weight * prediction[label]


class Polynomial(nn.Activation):
    """sum_k c_k x**k."""

    def __init__(self, coefficients=(0.5, 1.0, 0.25)):
        self.coefficients = coefficients

    @staticmethod
    def forward(x, coefficients):
        total, power = 0.0 * x, 1.0 + 0.0 * x
        for k in range(len(coefficients)):
            total += coefficients[k] * power
            power *= x
        return total

    @staticmethod
    def backward(grad_out, x, coefficients):
        total, power = 0.0 * x, 1.0 + 0.0 * x
        for k in range(1, len(coefficients)):
            total += k * coefficients[k] * power
            power *= x
        return grad_out * total


class Shifted(nn.Layer):
    """out = x + offsets, and times a matrix's diagonal."""

    def __init__(self, offsets, matrix):
        self.offsets = offsets
        self.matrix = matrix

    def build(self, in_shape):
        if in_shape != np.shape(self.matrix)[:1]:
            raise nn.ShapeError(f"expected rows of {len(self.matrix)}")
        return in_shape

    @staticmethod
    def forward(x, offsets, matrix, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * matrix[j, j] + offsets[j]

    @staticmethod
    def backward(grad_out, matrix, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j] * matrix[j, j]


@dataclass(repr=False, eq=False)
class Momenta(nn.Optimizer):
    """Two moments, whose factors are given together."""

    states = ("mean", "square")
    betas: tuple[float, float] = (0.9, 0.99)

    @staticmethod
    def update(value, grad, mean, square, lr, betas):
        first, second = betas
        for i in range(value.shape[0]):
            mean[i] = first * mean[i] + (1.0 - first) * grad[i]
            square[i] = second * square[i] + (1.0 - second) * grad[i] * grad[i]
            value[i] -= lr * mean[i] / (square[i] ** 0.5 + 1e-3)


@pytest.mark.parametrize("weights", WEIGHTS, ids=repr)
def test_losses(weights):
    check_loss(WeightedError(class_weight=weights), (3,))


@pytest.mark.parametrize("coefficients", [(0.5, 1.0, 0.25), (1, 2, 3), [0.5, 1.0], np.arange(4.0), tuple(np.arange(10) / 9)])
def test_activations(coefficients):
    check_activation(Polynomial(coefficients))


def test_layers():
    check_layer(Shifted((0.5, 1.0, -1.0), np.diag([1.0, 2.0, 3.0])), (3,))
    check_layer(Shifted([1, 2], [[1.0, 0.0], [0.0, 2.0]]), (2,))


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0, 0.5), [0.5, 0.5]])
def test_optimizers(betas):
    check_optimizer(Momenta(betas=betas))


def loss_of(weights, **options):
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    loss = WeightedError(class_weight=weights)
    return nn.Sequential([nn.Linear(3)]).fit(X, y, loss=loss, epochs=2, random_state=0, **options)


def test_what_is_none_is_as_if_it_were_not_asked_for():
    assert loss_of(None).loss == loss_of((1.0, 1.0, 1.0)).loss
    assert loss_of(None).loss != loss_of((1.0, 1.0, 2.0)).loss


def test_in_a_float32_kernel_numbers_are_of_its_dtype_compiled_and_not():
    """0.1 in float32 is another number than in float64."""
    for weights in ((0.1, 0.1, 0.1), np.array([0.1, 0.1, 0.1])):
        values = [loss_of(weights, engine=engine).loss[-1] for engine in ("compiled", "python")]
        np.testing.assert_allclose(*values, rtol=1e-6)
    seen = []

    class Watching(WeightedError):
        @staticmethod
        def forward(prediction, label, class_weight):
            seen.append(type(class_weight[0]))
            return prediction[label] ** 2

    X, y = np.zeros((4, 2)), np.zeros(4, int)
    for weights in ((0.1, 1), np.array([0.1, 1]), (1, 2)):
        nn.Sequential([nn.Linear(3)]).fit(X, y, loss=Watching(class_weight=weights), epochs=1, engine="python")
    assert seen[0] is seen[len(seen) // 2] is np.float32
    assert seen[-1] is int


def test_lengths_beyond_a_few_share_one_kernel():
    loss_of(tuple(np.linspace(0.5, 1.0, 9)))
    loss_of(np.linspace(0.5, 1.0, 9))
    before = statistics.compiled, statistics.loaded
    for count in (10, 100, 3000):
        loss_of(tuple(np.linspace(0.5, 1.0, count)))
        loss_of(np.linspace(0.5, 1.0, count))
    loss_of(np.linspace(0.5, 1.0, 3))
    assert (statistics.compiled, statistics.loaded) == before


def test_an_array_is_taken_as_it_is_and_never_written():
    given = np.array([1.0, 2.0, 3.0])

    class Writing(WeightedError):
        @staticmethod
        def forward(prediction, label, class_weight):
            class_weight[0] = 7.0
            return prediction[label] ** 2

    X, y = np.zeros((4, 2)), np.zeros(4, int)
    with pytest.raises(ValueError, match="read-only"):
        nn.Sequential([nn.Linear(3)]).fit(X, y, loss=Writing(class_weight=given), epochs=1, engine="python")
    assert given.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "value, words",
    [("mean", "pass a number or a truth value that says which"), (Kind.SUM, "derive Kind from enum.IntEnum"),
     ((1, "a"), "make it an array"), (((1, 2), (3,)), "make it an array"), ({0: 1.0}, "make it an array"), (1j, "complex")],
)  # fmt: skip
def test_what_kernels_cannot_have_is_refused_in_a_sentence(value, words):
    with pytest.raises(nn.KernelError, match=f"WeightedError: a kernel names 'class_weight': expected .*{words}"):
        WeightedError(class_weight=value)([[1.0, 2.0, 3.0]], [0])
    with pytest.raises(nn.KernelError, match=words):
        nn.Sequential([Shifted(value, np.eye(2))]).build((2,))
    with pytest.raises(nn.KernelError, match=words):
        nn.Sequential([nn.Linear(1)]).fit(np.zeros((4, 2)), np.zeros((4, 1)), optimizer=Momenta(betas=value), epochs=1)


PARTS = [WeightedError(class_weight=weights) for weights in WEIGHTS] + [Shifted((0.5, 1), np.eye(2)), Momenta(betas=(0.5, 0.5))]


@pytest.mark.parametrize("part", PARTS)
def test_copies_and_prints(part):
    copies = (copy.deepcopy(part), clone(part), part.replace(), pickle.loads(pickle.dumps(part)),
              eval(repr(part), {**vars(np), **globals()}))  # fmt: skip
    for other in copies:
        assert type(other) is type(part)
        assert repr(other) == repr(part)
        assert "\n" not in repr(part)
        assert list(map(type, vars(other).values())) == list(map(type, vars(part).values()))


@pytest.fixture
def registered():
    """The parts under names, for files."""
    kinds = {"weighted_error": WeightedError, "shifted": Shifted, "momenta": Momenta}
    for name, kind in kinds.items():
        nn.register(name)(kind)
    yield
    for name, kind in kinds.items():
        del kind.registry._classes[name], kind.registry._origins[name]
        kind.key = ""


WeightedError.examples = classmethod(lambda cls: [Example(cls(class_weight=(1.0, 2.0)), (2,))])
Shifted.examples = classmethod(lambda cls: [Example(cls((1.0, 2.0), np.eye(2)), (2,))])


@pytest.mark.usefixtures("registered")
def test_saved_and_loaded(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    for weights in WEIGHTS:
        estimator = nn.NNClassifier(
            layers=[Shifted([0.5, 1.0], np.diag([1.0, 2.0]))], loss=WeightedError(class_weight=weights),
            optimizer=Momenta(betas=(0.5, 0.9)), epochs=2, random_state=0,
        ).fit(X, y)  # fmt: skip
        estimator.save(tmp_path / "net.safetensors")
        again = nn.load(tmp_path / "net.safetensors")
        for name in ("loss", "optimizer", "layers"):
            assert repr(getattr(again, name)) == repr(getattr(estimator, name))
        np.testing.assert_array_equal(again.predict(X), estimator.predict(X))


@pytest.mark.usefixtures("registered")
def test_searched_over():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    estimator = nn.NNClassifier(layers=[Shifted((0.0, 0.0), np.eye(2))], loss=WeightedError(), optimizer=Momenta(), epochs=1,
                                random_state=0)  # fmt: skip
    grid = {"loss__class_weight": [None, (1.0, 2.0), np.array([1.0, 2.0]), (1, 2)],
            "optimizer__betas": [(0.5, 0.5), (0.9, 0.99)], "layers__0__offsets": [(0.0, 0.0), (1.0, 2.0)]}  # fmt: skip
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_.keys() == grid.keys()
    assert len(search.cv_results_["params"]) == 16
    changed = clone(estimator).set_params(loss__class_weight=(3.0, 4.0), layers__0__offsets=[1.0, 1.0])
    assert (changed.loss.class_weight, changed.layers[0].offsets) == ((3.0, 4.0), [1.0, 1.0])
    assert estimator.loss.class_weight is None


def test_a_step_by_hand_notices_another_value():
    """Arrays and lists are compared by what is in them, also where they have been changed in place."""
    model = nn.Sequential([nn.Linear(1)]).build((2,), 0)
    model.gradients()["0.bias"][:] = 1.0
    for value in (np.array([0.0, 0.0]), [0.0, 0.0]):
        optimizer = Momenta(lr=1.0, betas=value)
        optimizer.step(model)
        before = model.parameters()["0.bias"].copy()
        optimizer.betas[:] = [1.0, 1.0]  # the mean stays what it is: 1 at first, and the step is as long as the last one
        model.gradients()["0.bias"][:] = -1.0
        optimizer.step(model)
        assert (model.parameters()["0.bias"] < before).all()
        model.gradients()["0.bias"][:] = 1.0
