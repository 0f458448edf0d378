"""What people write by habit in a part of their own works, or is refused with what to write."""

import math
import math as m
import subprocess
import sys
import textwrap
from math import sqrt as root

import numpy as np
import pytest
from numpy import exp
from numpy import sin as sine

import nnkit as nn
import nnkit.kernels.math as nm
from nnkit.kernels import math as kernels_math

FACTOR = 2.0
TABLE = np.array([1.0, 2.0])


def halved(x):
    return x / FACTOR


def activation(function):
    """An activation of a function of one number."""
    return type("Habit", (nn.Activation,), {"forward": staticmethod(function),
                                            "backward": staticmethod(lambda grad_out, x: grad_out)})  # fmt: skip


def from_math(x):
    return root(abs(x))


def module_under_another_name(x):
    return m.sqrt(abs(x))


def from_numpy(x):
    return exp(x)


def renamed(x):
    return sine(x)


def nested(x):
    return np.exp(x) + math.pi + nm.exp(x) + kernels_math.tanh(x)


def helped(x):
    return halved(x)


def closed(scale):
    def forward(x):
        return scale * x + root(scale)

    return forward


HABITS = [
    (from_math, lambda x: np.sqrt(abs(x))), (module_under_another_name, lambda x: np.sqrt(abs(x))), (from_numpy, np.exp),
    (renamed, np.sin), (nested, lambda x: 2 * np.exp(x) + np.pi + np.tanh(x)), (helped, lambda x: x / 2),
    (closed(4.0), lambda x: 4 * x + 2),
]  # fmt: skip


@pytest.mark.parametrize(("function", "expected"), HABITS)
def test_imports_of_any_habit_work(function, expected):
    X = np.linspace(-1.0, 1.0, 8, dtype="float32").reshape(2, 4)
    model = nn.Sequential([activation(function)()]).build((4,))
    assert np.allclose(model.predict(X), expected(X.astype(float)), rtol=1e-5)


def of_a_table(x):
    return x * TABLE[0]


def of_a_class(x):
    return x * float(textwrap.TextWrapper(x))


def imported_within(x):
    from math import tan

    return tan(x)


@pytest.mark.parametrize(("function", "what"), [
    (of_a_table, "got TABLE of type ndarray; declare it in build, self.constant"),
    (of_a_class, "take a plain function .def., one of math, numpy"),
    (imported_within, "expected imports at the top of the module, got 'from math import tan' within"),
])  # fmt: skip
def test_what_compiled_code_cannot_name_is_refused_with_what_to_write(function, what):
    with pytest.raises(nn.KernelError, match=what) as caught:
        nn.Sequential([activation(function)()]).build((4,)).predict(np.zeros((1, 4)))
    assert str(caught.value).startswith(f"{__file__}:")


class Doubled(nn.Layer):
    def forward(x, out):
        out[:] = x

    def backward(grad_out, grad_x):
        grad_x[:] = grad_out

    forward, backward = staticmethod(forward), staticmethod(backward)


class Renames(Doubled):
    def __init__(self, units):
        self.n = units


class Forgets(Doubled):
    def __init__(self, units: int = 3, *, rate: float = 0.5):
        self.units = units
        self.a, self.b = rate, 1.0


class Below(Doubled):
    def __init__(self, units):
        self.units = units


class Above(Below):
    def __init__(self, units, rate=1.0):
        super().__init__(units)
        self.rate = rate


class Dynamic(Doubled):
    def __init__(self, units=1):
        vars(self).update(units=units)


@pytest.mark.parametrize(("part", "what"), [(Renames, "got self.n; write self.units = units"), (Forgets, "self.rate = rate")])
def test_an_argument_under_another_name_is_refused_as_it_is_registered(part, what):
    with pytest.raises(nn.KernelError, match=what):
        nn.register("renames_its_argument")(part)
    assert "renames_its_argument" not in nn.registry.layers


@pytest.mark.parametrize("part", [Below, Above, Dynamic])
def test_an_argument_that_is_kept_is_fine(part, monkeypatch):
    monkeypatch.setattr(nn.registry.layers, "_classes", dict(nn.registry.layers._classes))
    nn.register("keeps_its_argument")(part)


TYPED = """
import nnkit as nn
@nn.register("scale_typed")
class Scale(nn.Layer):
    @staticmethod
    def forward(x, out):
        out[:] = x
    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = grad_out

print(nn.Sequential([Scale()]).build((2,)).predict([[1.0, 2.0]]))
"""


def test_at_the_prompt_a_part_works_or_is_refused_in_plain_words_at_once():
    done = subprocess.run([sys.executable, "-i"], input=TYPED, capture_output=True, text=True, timeout=240)
    said = "typed at Python's prompt, which keeps no source; put the class into a file or a notebook cell"
    assert "[[1. 2.]]" in done.stdout or (said in done.stderr and sys.version_info < (3, 13))
    if said in done.stderr:  # as it is registered
        assert 'line 1, in <module>' in done.stderr
        assert "predict" not in done.stderr


@pytest.mark.parametrize("use", [
    repr, lambda part: part.hyperparameters(), lambda part: nn.Sequential([part, "relu"]).build((4,)),
    lambda part: nn.NNRegressor(layers=[part], epochs=1).fit(np.ones((4, 2)), np.ones(4)),
], ids=["repr", "hyperparameters", "build", "estimator"])  # fmt: skip
def test_a_part_that_is_not_registered_is_told_of_the_argument_it_lost(use):
    with pytest.raises(nn.KernelError, match=r"Renames: expected .* to keep units under its own name, got self\.n"):
        use(Renames(3))
