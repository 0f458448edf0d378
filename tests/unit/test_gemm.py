"""Matrix products in tiles: every remainder of rows and columns, strides, both dtypes; nothing else is written."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.engine.operands import Array
from nnkit.engine.program import Instruction, Program
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, dot_transposed, multiply, sum_rows, transpose

SIZES = [
    (1, 3, 1), (9, 30, 3), (1, 70, 65), (2, 1, 16), (3, 5, 7), (6, 64, 64), (7, 100, 48), (13, 129, 33), (17, 31, 15),
    (24, 300, 130), (32, 64, 10),
]  # fmt: skip


def plain(a, b, out):
    multiply(a, b, out[1:-1], True)


def added(a, b, out):
    multiply(a, b, out[1:-1], False)


def first_transposed(a, b, out):
    multiply(a.T, b, out[1:-1], True)


def through_dot(a, b, out):
    dot(a, b, out[1:-1])


def second_transposed(a, b, work, out):
    dot_transposed(a, b, work, out[1:-1])


def run(function, *arrays, python=False):
    real = arrays[0].dtype.name
    Program([Instruction(function, tuple(map(Array.view, arrays)), "test", "forward")], real, python=python).run()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_are_right_and_stay_in_their_rows(size, dtype):
    rows, inner, columns = size
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype(dtype) for shape in ((rows, inner), (inner, columns)))
    exact = a.astype(float) @ b.astype(float)
    # Higham 2002, section 3.5: n products and what was there (7) are off by n + 1 roundings of the sum of their sizes at most,
    # in whatever order and fused or not; float64 is compared with a float64 sum of another order.
    sizes = np.abs(a).astype(float) @ np.abs(b).astype(float) + 7.0
    bound = (inner + 1) * (1 if dtype == "float32" else 2) * np.finfo(dtype).eps / 2 * sizes
    work = np.full((STRIP, ACROSS), np.nan, dtype)
    cases = {
        plain: (exact, a, b), added: (exact + 7.0, a, b), first_transposed: (exact, np.ascontiguousarray(a.T), b),
        through_dot: (exact, a, b), second_transposed: (exact, a, np.ascontiguousarray(b.T), work),
    }  # fmt: skip
    for function, (expected, *arrays) in cases.items():
        for python in (False, True):
            out = np.full((rows + 2, columns), 7.0, dtype)
            run(function, *arrays, out, python=python)
            assert (out[[0, -1]] == 7.0).all(), function
            assert (np.abs(out[1:-1] - expected) <= bound).all(), function


def test_a_row_does_not_depend_on_those_beside_it():
    """So predictions of one row and of many are the same to the bit."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(29, 150)).astype(np.float32), random.normal(size=(150, 83)).astype(np.float32)
    whole = np.empty((31, 83), np.float32)
    run(plain, a, b, whole)
    for row in (0, 11, 28):
        alone = np.empty((3, 83), np.float32)
        run(plain, a[row : row + 1].copy(), b, alone)
        np.testing.assert_array_equal(alone[1], whole[1 + row])


def test_memory_before_and_behind_is_not_read():
    """NaN right behind each array would show."""
    for columns in (5, 16, 21):
        arrays = []
        for shape in ((4, 9), (9, columns)):
            padded = np.full(shape[0] * shape[1] + 64, np.nan, np.float32)
            padded[: shape[0] * shape[1]] = 1.0
            arrays.append(padded[: shape[0] * shape[1]].reshape(shape))
        out = np.empty((6, columns), np.float32)
        run(plain, *arrays, out)
        assert (out[1:-1] == 9.0).all()


def as_they_are(a, b, out):
    dot(a, b, out)


def right_turned(a, b, out):
    dot(a, b.T, out)


def both_turned(a, b, out):
    dot(a.T, b.T, out)


def into_turned(a, b, out):
    dot(a, b, out.T)


def every_other(a, b, out):
    dot(a[:, ::2], b[::2, ::-1], out[:, ::2])


def added_turned(a, b, out):
    out[:] = 7.0
    multiply(a, b.T, out, False)


def from_turned(a, b, out):
    transpose(a.T, out)


LAYOUTS = {
    as_they_are: (lambda a, b: a @ b, lambda n, k, m: ((n, k), (k, m), (n, m))),
    right_turned: (lambda a, b: a @ b.T, lambda n, k, m: ((n, k), (m, k), (n, m))),
    both_turned: (lambda a, b: a.T @ b.T, lambda n, k, m: ((k, n), (m, k), (n, m))),
    into_turned: (lambda a, b: (a @ b).T, lambda n, k, m: ((n, k), (k, m), (m, n))),
    every_other: (lambda a, b: a[:, ::2] @ b[::2, ::-1], lambda n, k, m: ((n, k), (k, m), (n, 2 * m))),
    added_turned: (lambda a, b: a @ b.T + 7.0, lambda n, k, m: ((n, k), (m, k), (n, m))),
    from_turned: (lambda a, b: a, lambda n, k, m: ((n, k), (1, 1), (n, k))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", LAYOUTS)
def test_matrices_of_any_layout_are_multiplied(function, dtype):
    random = np.random.default_rng(0)
    expected, shapes = LAYOUTS[function]
    for sizes in [(1, 5, 3), (4, 3, 4), (5, 4, 5), (7, 40, 21), (30, 150, 70)]:
        left, right, result = shapes(*sizes)
        a, b = (random.normal(size=shape).astype(dtype) for shape in (left, right))
        for python in (False, True):
            out = np.zeros(result, dtype)
            run(function, a, b, out, python=python)
            exact = expected(a.astype(float), b.astype(float))
            got = out[:, ::2] if function is every_other else out
            assert np.allclose(got, exact, atol={"float32": 1e-4, "float64": 1e-12}[dtype]), sizes


def strip_too_small(a, b, out):
    dot_transposed(a, b, a[:1], out)


def summed(a, b, out):
    sum_rows(a, out[0])


def biased(a, b, out):
    add_bias(a[0], out)


@pytest.mark.parametrize("function", [as_they_are, right_turned, added_turned, from_turned, strip_too_small, summed, biased])
@pytest.mark.parametrize("columns", [3, 8, 50])
def test_matrices_that_do_not_fit_are_refused(function, columns):
    a, b, out = np.ones((2, 5)), np.ones((6, columns)), np.ones((2, columns))
    for python in (False, True):
        error = ValueError if python else nn.KernelError
        with pytest.raises(error, match="expected"):
            program = Program([Instruction(function, tuple(map(Array.view, (a, b, out))), "test", "forward")], "float64",
                              python=python)  # fmt: skip
            program.run()
            program.require_no_error()


def test_numbers_of_another_type_are_refused():
    a, out = np.ones((2, 5), "int64"), np.ones((2, 5))
    with pytest.raises(nn.KernelError, match="expected matrices of float64"):
        run(as_they_are, out, a, out)
