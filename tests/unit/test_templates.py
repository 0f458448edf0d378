"""Programs that were planned once, and are made again on other memory."""

import copy
import gc
import os
import weakref

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.identity import identity
from nnkit.core.optimizer import Updater
from nnkit.engine import template
from nnkit.engine.hyperparameters import hyperparameter
from nnkit.engine.instruction import Instruction
from nnkit.engine.operands import Array, Constant
from nnkit.engine.program import Program
from nnkit.engine.template import Likeness
from nnkit.kernels.data import scale
from nnkit.network import network_of
from nnkit.training.steps import Steps
from tests.recalled import difference, is_written

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype(np.float32), RNG.integers(3, size=40)


def net(width=5, dropout=0.2):
    return nn.Sequential([nn.Linear(width), nn.BatchNorm1d(), nn.Tanh(), nn.Dropout(dropout), nn.Linear(3)])


def fitted(model, x=X, y=Y, **settings):
    model.fit(x, y, **{"loss": "cross_entropy", "epochs": 2, "batch_size": 16, "random_state": 1, "progress": False} | settings)
    return network_of(model).vector.copy()


@pytest.fixture
def made(monkeypatch):
    """The programs of steps that are made, and whether they were written."""
    found = []
    make = Steps._step_program

    def noted(self, *args):
        program = make(self, *args)
        found.append(is_written(program))
        return program

    template._templates.clear()
    monkeypatch.setattr(Steps, "_step_program", noted)
    return found


def test_the_second_fit_of_an_architecture_plans_nothing_and_has_the_bits_of_one_that_does(made):
    other = X[::-1].copy(), np.roll(Y, 3)
    fitted(net())
    first = net()
    again = fitted(first, *other, random_state=7)
    assert made == [True, False]
    before = network_of(first).vector.copy()
    fitted(net(), random_state=9)  # works on memory of its own
    assert (network_of(first).vector == before).all()
    template._templates.clear()
    assert (fitted(net(), *other, random_state=7) == again).all()


@pytest.mark.parametrize("change", [
    {"model": lambda: net(width=6)}, {"model": lambda: net(dropout=0.3)}, {"optimizer": "sgd"},
    {"optimizer": nn.Adam(eps=1e-6)}, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, {"x": X.astype(np.float64)},
    {"x": np.asfortranarray(X)}, {"sample_weight": np.linspace(1, 2, 40)}, {"batch_size": 15}, {"y": np.eye(3)[Y]},
])  # fmt: skip
def test_what_makes_another_program_is_planned_anew(made, change):
    settings = dict(change)
    fitted(net())
    fitted(settings.pop("model", net)(), **settings)
    if change.keys() == {"optimizer"}:  # which has programs of its own
        assert made == [True, False]
    else:
        assert made == [True, True]


def test_a_frozen_layer_is_planned_anew(made):
    fitted(net())
    model = net().build((6,), random_state=0)
    model.freeze("0.*")
    fitted(model)
    assert made == [True, True]


def test_a_kernel_that_was_exchanged_is_the_one_that_runs(made, monkeypatch):
    class Twice(nn.Layer):
        """Out = 2 x."""

        @staticmethod
        def forward(x, out):
            out[:] = 2 * x

        @staticmethod
        def backward(grad_out, grad_x):
            grad_x[:] = 2 * grad_out

    def forward(x, out):
        out[:] = 3 * x

    def trained():
        return fitted(nn.Sequential([nn.Linear(4), Twice(), nn.Linear(3)]))

    first = trained()
    monkeypatch.setattr(Twice, "forward", staticmethod(forward))
    other = trained()
    assert made == [True, True] and not np.array_equal(first, other)


def test_a_layer_that_holds_something_unknown_is_planned_anew_and_nothing_is_kept(made):
    class Odd(nn.ReLU):
        def build(self, in_shape):
            self.found = {1, 2}
            return in_shape

    for _ in range(2):
        fitted(nn.Sequential([nn.Linear(4), Odd(), nn.Linear(3)]))
    assert made == [True, True]
    assert not any("step" in str(key)[:12] for key in template._templates)


class Mixed:
    """Not a part, but parts have it."""

    alpha = 1.0

    @staticmethod
    def forward(x, out, alpha, beta, work):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * alpha * beta * work.shape[1]

    @staticmethod
    def backward(grad_out, grad_x, alpha, beta, work):
        for n in range(grad_out.shape[0]):
            for j in range(grad_out.shape[1]):
                grad_x[n, j] = grad_out[n, j] * alpha * beta * work.shape[1]


SIZES = {"work": 2}
BETA = 1.0


def beta():
    return BETA


class Reads(Mixed, nn.Layer):
    """A layer whose programs follow from what stands elsewhere."""

    def build(self, in_shape):
        super().build(in_shape)
        self.scratch("work", (SIZES["work"],))
        return in_shape

    @property
    def beta(self):
        return beta()


def tenfold(x, out, alpha, beta, work):
    for n in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[n, j] = 10 * x[n, j]


class FromOutside(Reads):
    """A property that says what stands outside of the process's own variables."""

    @property
    def beta(self):
        return float(os.environ.get("NNKIT_TEST_BETA", "1"))


@pytest.mark.parametrize("change", [
    lambda patch: patch.setenv("NNKIT_TEST_BETA", "4"),
    lambda patch: patch.setattr(Mixed, "alpha", 2.0), lambda patch: patch.setitem(SIZES, "work", 3),
    lambda patch: patch.setitem(globals(), "BETA", 3.0), lambda patch: patch.setattr(Mixed, "forward", staticmethod(tenfold)),
], ids=["environment", "attribute", "build", "property", "kernel"])  # fmt: skip
def test_what_a_users_layer_reads_elsewhere_counts(made, monkeypatch, change):
    def trained():
        return fitted(nn.Sequential([nn.Linear(4), Reads(), FromOutside(), nn.Linear(3)]), epochs=1)

    first = trained()
    assert (trained() == first).all()
    change(monkeypatch)
    other = trained()
    assert made == [True, False, True] and not np.array_equal(first, other)


def test_what_leads_back_to_itself_has_an_identity():
    layer, other = nn.ReLU(), nn.ReLU()
    layer.me, other.me = [layer, {"it": layer}], [other, {"it": other}]
    assert identity(layer) == identity(other) != identity(nn.ReLU())
    assert hash(identity(layer)) == hash(identity(other))


def test_no_key_holds_what_a_function_holds():
    """Closures may hold the data of a fit."""
    def around(data):
        return lambda x: x + data

    data = np.ones(3)
    watched, key = weakref.ref(data), identity(around(data))
    assert key == identity(around(np.ones(3))) != identity(around(np.zeros(3)))
    del data
    gc.collect()
    assert watched() is None


def test_what_is_too_much_to_be_looked_at_is_like_nothing_else():
    for much in (list(range(5000)), "a" * 100_000, np.zeros(100_000)):
        with pytest.raises(TypeError):
            hash(identity(much))


def test_a_template_holds_the_numbers_of_long_tuples():
    """Their address is one in an array of its own: that of the first program is gone with it."""
    numbers = tuple(range(12, 0, -1))

    def write():
        return [Instruction(first_of, (hyperparameter(numbers, "float64"), Array.view(out)), "test", "data")]

    for _ in range(2):
        out = np.zeros(1)
        made = Program(write, "float64", like=Likeness(("first of", numbers), [out]))
        made.run()
        assert out[0] == 12 and any(np.array_equal(array, numbers) for array in made._held)
    assert not is_written(made)


def first_of(numbers, out):
    out[0] = numbers[0]


@pytest.mark.parametrize(("one", "other"), [
    (0.0, -0.0), (1, 1.0), (1, True), ((1, 2), [1, 2]), ({"a": 1, "b": 2}, {"a": 1, "b": 3}), (np.ones(2), np.ones(3)),
    (np.ones(2), np.ones(2, np.float32)), (nn.Adam(), nn.Adam(eps=1e-6)), (nn.ReLU(), nn.Tanh()), (np.float32(1), 1.0),
])  # fmt: skip
def test_what_is_not_the_same_has_another_identity(one, other):
    assert identity(one) != identity(other)
    assert identity(one) == identity(copy.deepcopy(one)) and hash(identity(one)) == hash(identity(copy.deepcopy(one)))


def test_targets_that_share_memory_with_the_data_are_found_again(made):
    """Where one array lies within another one in the first fit, and apart in the second."""
    table, other = RNG.normal(size=(2, 40, 9))
    fitted(net(), table[:, :6], table[:, 6:], loss="mse")
    again = fitted(net(), table[:, :6], other[:, 6:], loss="mse")
    assert made == [True, False]
    template._templates.clear()
    assert (fitted(net(), table[:, :6], other[:, 6:], loss="mse") == again).all()


def test_what_a_recalled_program_refuses_is_said_as_in_the_first_one(made):
    words = RNG.integers(4, size=(40, 2))

    def embedded():
        return nn.Sequential([nn.Embedding(4, 3), nn.Flatten(), nn.Linear(3)])

    class Spoilt(nn.Callback):
        """Change the data behind the back of the fit."""

        def on_epoch_end(self, fit):
            data[7, 1] = 9

    said = []
    for _ in range(2):
        data = words.copy()
        with pytest.raises(nn.errors.DataError, match="got 9 in row 7, place 1") as caught:
            fitted(embedded(), data, epochs=5, callbacks=[Spoilt()])
        said.append(str(caught.value))
    assert made == [True, False] and said[0] == said[1]


def test_nothing_of_a_fit_outlives_it_but_what_was_asked_for():
    """No circle of references holds data, slabs and states until the next collection."""
    class Watcher(nn.Callback):
        def on_epoch_end(self, fit):
            watched.extend(map(weakref.ref, (fit, fit._updater, fit._runner, fit._evaluator)))

    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            watched = []
            fitted(net(), epochs=1, validation_split=0.2, callbacks=[Watcher()])
            assert [item() for item in watched] == [None] * 4
    finally:
        gc.enable()


def program(factor, key, array, out):
    def write():
        return [Instruction(scale, (Array.view(array), Constant(factor, "float64"), Array.view(out)), "test", "data")]

    return Program(write, "float64", like=Likeness(key, [array, out]))


def test_a_key_that_leaves_something_out_is_noticed():
    """The comparison that every test makes sees it."""
    array, out = np.ones(4), np.zeros(4)
    program(2.0, "whole 2", array, out)
    program(2.0, "whole 2", np.ones(4), np.zeros(4)).run()
    with pytest.raises(AssertionError, match="its frames should be others"):
        program(3.0, "whole 2", array, out)


def test_an_array_within_one_of_others_cannot_be_its_own():
    array = np.ones(8)

    def write():
        return [Instruction(scale, (Array.view(array), Constant(2.0, "float64"), Array.view(array[4:])), "test", "data")]

    with pytest.raises(nn.errors.KernelError, match="part of one"):
        Program(write, "float64", like=Likeness("part", [array]))


def test_templates_are_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(template, "MOST", 3)
    template._templates.clear()
    for key in range(5):
        made = program(2.0, key, np.ones(4), np.zeros(4))
        assert difference(made, 2) is None
    assert len(template._templates) <= 3


def test_a_program_of_an_updater_can_be_read_when_the_updater_is_gone():
    programs = [Updater(nn.Adam(), np.zeros(64), np.zeros((1, 64)), chunk=64).update for _ in range(2)]
    assert not is_written(programs[1])
    assert [item.function for item in programs[1].instructions] == [nn.Adam.update]


def test_no_template_holds_something_for_each_row(made):
    """Hundreds of templates are remembered, and the data may be large."""
    sparse = pytest.importorskip("scipy.sparse")
    for X_ in (sparse.csr_array(np.tile(X, (50, 1)) > 1, dtype=np.float32), np.tile(X, (50, 1))):
        fitted(net(), X_, np.tile(Y, 50), epochs=1, validation_split=0.2, metrics=["accuracy"])
    assert made == [True, True]
    assert max((array.size for item in template._templates.values() for array in item.own), default=0) < 500
