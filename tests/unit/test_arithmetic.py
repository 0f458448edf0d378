"""A compiled kernel computes in the dtype in which the uncompiled one does: Python's numbers are weak (NEP 50)."""

import numba
import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of
from nnkit.passes import Pass

EACH, KERNELS, ROWS, WIDTH = 12, 25, 3, 5
SIZES = (2, 3)
HALF = 0.5

REAL = ("x[n, j]", "a[j]", "rate", "HALF", "0.3", "-1.5")
WHOLE = ("2", "-3", "1", "n", "j", "x.shape[1]", "len(a)", "k", "SIZES[1]", "n * x.shape[1] + j", "2 ** k", "(j + 1) // 2",
         "j % 2")  # fmt: skip


class Expressions:
    """Random expressions over arrays of the kernel's dtype and Python's numbers, that have a value everywhere."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def one_of(self, items):
        return items[self.random.integers(len(items))]

    def leaf(self):
        return self.one_of(REAL if self.random.random() < 0.5 else WHOLE)

    def make(self, depth=3):
        if depth == 0 or self.random.random() < 0.1:
            return self.leaf()
        first, second = self.make(depth - 1), self.make(depth - 1)
        whole, other = self.one_of(WHOLE), self.one_of(WHOLE)
        return self.one_of([
            f"({first} + {second})", f"({first} - {second})", f"({first} * {second})", f"({first} * {second})",
            f"({first} / (abs({second}) + 1))", f"({whole} / (abs({other}) + 1))", f"-({first})", f"abs({first})",
            f"min({first}, {second})", f"max({first}, {second})", f"({first} if {second} > {whole} else {other})",
            f"({first} if {whole} < {second} else {second})", f"(({first}) ** 2)", f"(({first} >= {second}) * {first})",
            f"(({first}) * {whole} + {other})", f"(float({whole}) * {first})",
        ])  # fmt: skip


def layer(expressions, dtype):
    """A layer whose outputs are these expressions."""
    lines = "".join(f"            out[n, {place}] = x[n, j] * 0 + {item}\n" for place, item in enumerate(expressions))
    text = ("def forward(x, a, k, rate, out):\n    for n in range(x.shape[0]):\n        total = 0\n"
            f"        for j in range({WIDTH}):\n            total += x[n, j] * (j + 1)\n{lines}"
            f"        out[n, {len(expressions)}] = total\n")  # fmt: skip
    space = {"SIZES": SIZES, "HALF": HALF}
    exec(text, space)
    space["forward"].source = text

    class Computes(nn.Layer):
        def __init__(self):
            self.k = 3
            self.rate = 0.7

        def build(self, in_shape):
            self.parameter("a", in_shape, init="normal")
            return (len(expressions) + 1,)

        forward = staticmethod(space["forward"])

        @staticmethod
        def backward(grad_out, grad_x, grad_a):
            grad_x[:] = 0.0
            grad_a[:] = 0.0

    network = network_of(nn.Sequential([Computes()]).build((WIDTH,), 0, dtype))
    return space["forward"], network


@pytest.mark.parametrize("seed", range(KERNELS))
def test_dtypes_and_values_are_those_of_numpy(seed):
    expressions = Expressions(seed)
    chosen = [expressions.make() for _ in range(EACH)]
    x = np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype(np.float32)
    forward, network = layer(chosen, "float32")
    work = Pass(network, ROWS, training=False, gradient=network.gradient)
    out = work.forward(x)
    assert not work.program.kernel(0).machine_code.widens, chosen
    a, expected = network.parameters()["0.a"], np.zeros_like(out)
    with np.errstate(all="ignore"):
        forward(x, a, 3, np.float32(0.7), expected)
    # Sums may be taken in another order, and products and sums in one: a few roundings of what the terms are of size.
    exact, wide = np.zeros(out.shape), layer(chosen, "float64")[0]
    wide(x.astype(np.float64), a.astype(np.float64), 3, 0.7, exact)
    assert np.isfinite(expected).all()
    scale = np.maximum(np.abs(exact), 1.0)
    np.testing.assert_array_less(np.abs(out - expected) / scale, 1e-4, err_msg=str(chosen))


class Codes(nn.Layer):
    """Whole numbers of an array beside real ones."""

    input_dtype = "int64"
    input_limit = 100

    def build(self, in_shape):
        self.parameter("a", in_shape, init="uniform")
        return (6,)

    @staticmethod
    def forward(x, a, out):
        for n in range(x.shape[0]):
            code, total = x[n, 0] + 1, a[0]
            total += x[n, 1]
            out[n, 0] = x[n, 0] * a[0]
            out[n, 1] = a[1] / code
            out[n, 2] = total
            out[n, 3] = x[n, 2] * 2 + code // 2
            out[n, 4] = (-x[n, 2] + 3) * (a[0] + a[1])
            out[n, 5] = a[code % 3] + 1

    @staticmethod
    def backward(grad_out, grad_a):
        grad_a[:] = 0.0


def test_whole_numbers_of_arrays_are_strong():
    network = network_of(nn.Sequential([Codes()]).build((3,), 0))
    x = np.random.default_rng(0).integers(0, 100, (4, 3))
    work = Pass(network, 4, training=False, gradient=network.gradient)
    out, expected = work.forward(x), np.zeros((4, 6), np.float32)
    Codes.forward(x, network.parameters()["0.a"], expected)
    np.testing.assert_array_equal(out, expected)  # float64 beneath: one rounding, however sums are taken
    kernel = next(item for item in map(work.program.kernel, range(2)) if item.function is Codes.forward)
    assert kernel.machine_code.widens


def pick(codes, n, j):
    return codes[n, j]


def raised(row, j=0):
    return row[j] + 1


def in_turn(codes, n, j):
    return pick(codes, n, j) - raised(codes[n], j=j)


def blend(code, real):
    return code * real


def counted(row):
    return np.argmax(row) + LARGE


def added_up(row):
    total = 0
    for code in row:
        total += code
    return total


LARGE = 2**24 + 1  # float32 cannot hold it
STRONG = ("x[n, j]", "pick(x, n, j)", "raised(x[n])", "raised(x[n], j)", "raised(j=j, row=x[n])", "counted(x[n])", "code",
          "one", "row[j]", "added_up(row)", "in_turn(x, n, j) * pick(x, n, 1)")  # fmt: skip


class StrongExpressions(Expressions):
    """Random expressions whose values NumPy takes for an int64."""

    def leaf(self):
        return self.one_of(STRONG)

    def make(self, depth=2):
        if depth == 0:
            return self.leaf()
        strong, weak = self.make(depth - 1), self.one_of(("2", "-3", "n", "j", "k", "len(row)", "x.shape[0]"))
        return self.one_of([
            f"({strong} + {weak})", f"({weak} - {strong})", f"({strong} * {weak})", f"-{strong}", f"abs({strong})",
            f"({strong} + {self.leaf()})", f"({strong} // (abs({weak}) + 1))",
            f"raised(x[n], abs({weak}) % 2) * {weak} + {strong}",
        ])  # fmt: skip


@pytest.mark.parametrize("seed", range(KERNELS // 5))
def test_whole_numbers_of_arrays_are_strong_in_functions_that_get_them(seed):
    """S * a[0] + a[2] - S * a[1] is a[2] in float64, and what rounding leaves in float32, for large S."""
    random = StrongExpressions(seed)
    chosen = [*STRONG, *(random.make() for _ in range(EACH))]
    products = [f"({item}) * a[0] + a[2] - ({item}) * a[1]" for item in chosen]
    products += [f"blend({item}, a[0]) + a[2] - blend(code=({item}), real=a[1])" for item in chosen]
    lines = "".join(f"            out[n, {place}] = {item}\n" for place, item in enumerate(products))
    text = ("def forward(x, a, k, out):\n    for n in range(x.shape[0]):\n        row, one = x[n], raised(x[n])\n"
            f"        for j in range(2):\n            code = x[n, j] + 1\n{lines}")  # fmt: skip
    space = {item.__name__: item for item in (pick, raised, in_turn, blend, counted, added_up)}
    exec(text, space)
    space["forward"].source = text

    class Computes(nn.Layer):
        input_dtype = "int64"
        input_limit = 2**40

        def __init__(self):
            self.k = 3

        def build(self, in_shape):
            self.parameter("a", (3,))
            return (len(products),)

        forward = staticmethod(space["forward"])

        @staticmethod
        def backward(grad_out, grad_a):
            grad_a[:] = 0.0

    network = network_of(nn.Sequential([Computes()]).build((2,), 0))
    a = network.parameters()["0.a"]
    a[:] = 1.5, 1.5, 0.3
    x = LARGE + 2 * np.random.default_rng(seed).integers(0, 1000, (2, 2))
    expected = np.zeros((2, len(products)), np.float32)
    space["forward"](x, a, 3, expected)
    np.testing.assert_array_equal(expected, a[2])
    out = Pass(network, 2, training=False, gradient=network.gradient).forward(x)
    wrong = [products[place] for place in np.flatnonzero((out != a[2]).any(axis=0))]
    assert not wrong


def test_a_users_own_compiled_code_types_as_it_always_did():
    layer(["2 * x[n, j]"], "float32")

    @numba.njit
    def product(k, x):
        return k * x

    assert product(2, np.float32(0.5)) == 1.0 and product.nopython_signatures[0].return_type == numba.float64
