"""A model of several inputs and outputs as a native function: tuples of arrays in Numba code, a pointer for each in C."""

import ctypes

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

import nnkit as nn

tower = nn.Linear(3)
TOWERS = nn.Inputs(image=[nn.Flatten(), nn.Linear(4), "tanh"], size="identity")
NETS = {
    "towers": ([TOWERS, nn.Linear(3), nn.Heads(price=nn.Linear(1), kind=nn.Softmax())], {"image": (2, 3), "size": (1,)}),
    "one output": ([nn.Inputs(left=tower, right=[tower, "tanh"], merge="mean"), nn.Linear(2)], {"left": (2,), "right": (2,)}),
    "one input": ([nn.Linear(4), nn.Heads(a=nn.Unflatten(1, (2, 2)), b=nn.Linear(2), again="identity")], (3,)),
    "graph": ([nn.Graph(h=("a", nn.Flatten()), k=(("h", "b"), nn.Bilinear(2)), outputs=("h", "k"))], {"a": (2, 2), "b": (3,)}),
}


def drawn(random, shape, dtype):
    """Arrays of one row, and the same as a tuple or as the only one."""
    arrays = {name: random.normal(size=item).astype(dtype) for name, item in shape.items()} if isinstance(shape, dict) else {
        "": random.normal(size=shape).astype(dtype)}  # fmt: skip
    return arrays, tuple(arrays.values()) if isinstance(shape, dict) else arrays[""]


def batch(arrays):
    return {name: array[None] for name, array in arrays.items()} if "" not in arrays else arrays[""][None]


@numba.njit
def use(f, x, out):
    f(x, out)


@numba.njit
def use_gradient(f, x, out, grad_out, grad_x):
    f(x, out, grad_out, grad_x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_is_predict_to_the_bit(net, dtype):
    layers, in_shape = NETS[net]
    model = nn.Sequential(layers).build(in_shape, random_state=0, dtype=dtype)
    random = np.random.default_rng(0)
    (x, given), (out, target) = drawn(random, in_shape, dtype), drawn(random, model.out_shape, dtype)
    expected = model.predict(batch(x))
    expected = [array[0] for array in (expected.values() if isinstance(expected, dict) else [expected])]
    f = model.as_function()
    pointers = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(x) + len(out)))(f.address)
    ways = [lambda: f(given, target), lambda: use(f, given, target),
            lambda: pointers(*(array.ctypes.data for array in (*x.values(), *out.values())))]  # fmt: skip
    ways += [lambda: f(dict(reversed(x.items())), target)] if isinstance(given, tuple) else []
    ways += [lambda: f(given, dict(reversed(out.items())))] if isinstance(target, tuple) else []
    for way in ways:
        for array in out.values():
            array[...] = np.nan
        way()
        for array, wanted in zip(out.values(), expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("net", NETS)
def test_gradient_is_that_of_a_backward_pass(net):
    layers, in_shape = NETS[net]
    model = nn.Sequential(layers).build(in_shape, random_state=0, dtype="float64")
    random = np.random.default_rng(0)
    (x, given), (_, target) = drawn(random, in_shape, "float64"), drawn(random, model.out_shape, "float64")
    (grad_out, back), (grad_x, into) = drawn(random, model.out_shape, "float64"), drawn(random, in_shape, "float64")
    f = model.as_function(gradient=True)
    for way in (lambda: f(given, target, back, into), lambda: use_gradient(f, given, target, back, into)):
        for array in grad_x.values():
            array[...] = np.nan
        way()
        model.forward(batch(x))
        expected = model.backward(batch(grad_out))
        for name, array in grad_x.items():
            np.testing.assert_allclose(array, (expected[name] if name else expected)[0], rtol=1e-12, atol=1e-12)


def looked_up():
    parts = nn.Inputs(kind=[nn.Embedding(5, 2), nn.Flatten()], size=nn.Linear(2))
    return nn.Sequential([parts, nn.Linear(2)]).build({"kind": (2,), "size": (3,)}, random_state=0)


def test_whole_numbers_are_one_of_the_inputs():
    model, out = looked_up(), np.empty(2, "float32")
    kind, size = np.array([1, 4]), np.ones(3, "float32")
    use(model.as_function(), (kind, size), out)
    np.testing.assert_array_equal(out, model.predict((kind[None], size[None]))[0])
    with pytest.raises(nn.DataError, match=r"expected x\['kind'\] to hold whole numbers from 0 to 4"):
        model.as_function()((np.array([1, 5]), size), out)
    with pytest.raises(nn.NativeError, match=r"got Embedding\(5, 2\), which takes whole numbers"):
        model.as_function(gradient=True)


KIND, SIZE, OUT = np.array([1, 4]), np.ones(3, "float32"), np.empty(2, "float32")


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        (SIZE, OUT, nn.ShapeError, "expected x to be a dict of arrays for kind, size, or a tuple of them .*, got one"),
        ((KIND,), OUT, nn.ShapeError, "got 1 of them"),
        ((SIZE, KIND), OUT, nn.DataError, r"expected x\['kind'\] to be an array of int64, got an array of float32"),
        ((KIND, SIZE[:2]), OUT, nn.ShapeError, r"expected x\['size'\] to be of shape \(3,\), one row, got \(2,\)"),
        ({"kind": KIND, "sizes": SIZE}, OUT, nn.ShapeError, "arrays for kind, size, got kind, sizes"),
        ((KIND, SIZE), (OUT,), nn.DataError, "expected out to be an array of float32, got a tuple"),
    ],
)
def test_what_is_not_a_row_is_refused(x, out, error, match):
    with pytest.raises(error, match=match):
        looked_up().as_function()(x, out)


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        (SIZE, OUT, TypingError, "expected x to be a tuple of arrays for kind, size, got"),
        ((KIND, SIZE, SIZE), OUT, TypingError, "expected x to be a tuple of arrays for kind, size, got"),
        ((SIZE, SIZE), OUT, TypingError, r"expected x\['kind'\] to be a C-contiguous array of int64 with 1 dimensions, got"),
        ((KIND, SIZE), (OUT,), TypingError, "expected out to be a writable C-contiguous array of float32"),
        ((KIND, SIZE[:2]), OUT, ValueError, "expected arrays of the shapes of one row, got another shape"),
    ],
)
def test_compiled_code_refuses_it_too(x, out, error, match):
    with pytest.raises(error, match=match):
        use(looked_up().as_function(), x, out)
