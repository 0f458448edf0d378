"""A trained net as a function inside other compiled code."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import readers
from nnkit.core.fields import by_name, each, fields
from nnkit.core.layer import Layer
from nnkit.engine.operands import Argument, Array, Control
from nnkit.engine.outside import Brought, NativeFunction
from nnkit.engine.program import Instruction, Program
from nnkit.engine.workers import available_threads
from nnkit.errors import DataError, NativeError, ShapeError
from nnkit.kernels.data import copy, copy_unless_stopped
from nnkit.network import Network
from nnkit.planner import Plan

__all__ = ["RowFunction"]


class RowFunction(NativeFunction):
    """A model's outputs for one row, in evaluation mode, as a function; `Sequential.as_function` makes it.

    ``f(x, out)`` writes the output for the row ``x`` into ``out``: C-contiguous arrays of the shapes ``model.in_shape`` and
    ``model.out_shape`` and of the model's dtype (``x`` of int64, where the first layer takes whole numbers). With ``gradient``,
    ``f(x, out, grad_out, grad_x)`` also writes the gradient of the input, grad_x_i = sum_j grad_out_j d out_j / d x_i.

    Of several inputs or outputs, each of these is a tuple of arrays in the model's order: ``f((image, table), (price, kind))``.
    From Python it may be a dict of them, too.

    It is called from your own ``@njit`` code, or from Python. It reads the model's present parameters whenever it is called,
    and keeps them alive, but knows nothing of a later ``build``. Many threads may call it at once. Nothing is compiled for it.
    Your function may have it as an argument or as a global; as an argument, the same compiled code serves all models whose
    rows have as many dimensions, and Numba can keep it on disk.

    In compiled code, a wrong dtype, layout or number of dimensions is a TypingError as your function is compiled, and a wrong
    shape raises ValueError. Whole numbers out of range give NaN there.

    Parameters
    ----------
    network : its arrays live as long as this function
    gradient : whether it also gives the gradient of the input

    Attributes
    ----------
    address : a C function pointer, as an integer, to ``void f(const T *x, T *out)`` (with the gradient it takes four
        pointers; of several inputs or outputs there is one for each): T is float or double, the model's dtype; ``x`` points to
        int64_t, where the first layer takes whole numbers.
        It needs no GIL, and may be called by many threads at once.

    Raises
    ------
    NativeError
        The model has a layer that runs in Python, or its input has to be looked at in Python.

    Examples
    --------
    >>> import nnkit as nn, numba, numpy as np
    >>> model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(2)]).build((2,), random_state=0, dtype="float64")
    >>> @numba.njit
    ... def euler(f, state, step, steps):
    ...     state, slope = state.copy(), np.empty_like(state)
    ...     for _ in range(steps):
    ...         f(state, slope)  # d state / dt
    ...         state += step * slope
    ...     return state
    >>> state = euler(model.as_function(), np.array([1.0, 0.0]), 0.01, 100)
    >>> expected = np.array([1.0, 0.0])
    >>> for _ in range(100):
    ...     expected += 0.01 * model.predict(expected[None])[0]
    >>> np.allclose(state, expected)
    True

    As a C function, here by way of ctypes; with cffi it is ``ffi.cast("void (*)(const double *, double *)", model.address)``:

    >>> import ctypes
    >>> pointer = ctypes.POINTER(ctypes.c_double)
    >>> net = ctypes.CFUNCTYPE(None, pointer, pointer)(model.address)
    >>> x, out = np.array([0.5, 0.0]), np.empty(2)
    >>> net(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
    >>> bool((out == model.predict([[0.5, 0.0]])[0]).all())
    True

    What wants another signature gets a function of yours around it, as SciPy's integrators do:

    >>> import scipy.integrate
    >>> model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
    >>> f = model.as_function()
    >>> @numba.cfunc("float64(intc, CPointer(float64))")
    ... def integrand(n, x):
    ...     out = np.empty(1)
    ...     f(numba.carray(x, (1,)), out)
    ...     return out[0]
    >>> area, error = scipy.integrate.quad(scipy.LowLevelCallable(integrand.ctypes), 0, 1)
    >>> xs = (np.arange(1000) + 0.5) / 1000
    >>> bool(abs(area - model.predict(xs[:, None]).mean()) < 1e-6)
    True
    """

    def __init__(self, network: Network, gradient: bool = False) -> None:
        self._described = f"{network!r}.as_function({'gradient=True' * gradient})"
        self._network = network
        first = [reader.built.layer for reader in readers(network.root)]
        whole = [layer for layer in first if layer.input_dtype != "real"]
        if gradient and set(fields(network.input_dtype).values()) != {network.dtype}:
            raise NativeError(f"{self!r}: expected an input of real numbers, got {whole[0]!r}, which takes whole numbers: they "
                              "have no gradient; leave gradient out")  # fmt: skip
        if network.looks_at_input:
            looking = next(layer for layer in first if type(layer).check_input is not Layer.check_input)
            raise NativeError(f"{self!r}: expected a first layer that any input may be given to, got {looking!r}, which has to "
                              "look at it in Python; let it say its input_limit")  # fmt: skip
        interpreted = [built.layer for built in network.leaves if built.layer.interpreted]
        if interpreted:
            raise NativeError(f"{self!r}: expected layers that are compiled, got {interpreted[0]!r}, which runs in Python; "
                              "derive it from Layer")  # fmt: skip
        real, in_shape, out_shape = network.dtype, network.in_shape, network.out_shape
        arrays = {"x": _brought("x", in_shape, network.input_dtype), "out": _brought("out", out_shape, real, written=True)}
        if gradient:
            arrays["grad_out"] = _brought("grad_out", out_shape, real)
            arrays["grad_x"] = _brought("grad_x", in_shape, real, written=True)
        self._arguments = arrays
        plan = _plan(network, gradient)
        # More slots than threads, so that two seldom try the same one first.
        program = Program(plan.instructions, real, shards=max(16, 4 * available_threads()))
        super().__init__(program, [array for argument in arrays.values() for array in fields(argument).values()])

    def __repr__(self) -> str:
        return self._described

    def __call__(self, x: Any, *others: Any) -> None:
        """What it does in compiled code, from Python, where several arrays may also be a dict of them.

        Raises
        ------
        ShapeError, DataError
            Not the arrays of one row.
        """
        given = (x, *others)
        if len(given) != len(self._arguments):
            raise ShapeError(f"{self!r}: expected the arrays {', '.join(self._arguments)}, got {len(given)} of them")
        arrays: list[NDArray[Any]] = []
        for value, (name, wanted) in zip(given, self._arguments.items(), strict=True):
            names = tuple(wanted) if isinstance(wanted, dict) else ()
            arrays += fields(by_name(value, names, repr(self), name) if names else value).values()
        for array, one in zip(arrays, self.brought, strict=True):
            if not _fits(array, one):
                self._refuse(array, one)
        self._network.check_input(dict(zip(self._arguments["x"], (array[None] for array in arrays), strict=False))
                                  if isinstance(self._arguments["x"], dict) else x[None], "x")  # fmt: skip
        self.c_function(*[array.ctypes.data for array in arrays])

    def _refuse(self, array: Any, wanted: Brought) -> NoReturn:
        """Say what is wrong with an array that does not fit."""
        who = f"{self!r}: expected {wanted.name} to be"
        if not isinstance(array, np.ndarray) or array.dtype != wanted.dtype:
            came = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
            raise DataError(f"{who} an array of {wanted.dtype}, got {came}")
        if array.shape != wanted.shape:
            raise ShapeError(f"{who} of shape {wanted.shape}, one row, got {array.shape}")
        what = "a writable, C-contiguous array" if wanted.written else "C-contiguous"
        raise DataError(f"{who} {what}, got strides {array.strides}, writable={array.flags.writeable}; copy it")


def _fits(array: Any, wanted: Brought) -> bool:
    """Whether an array is what the machine code takes it for."""
    if type(array) is not np.ndarray or array.dtype != wanted.dtype or array.shape != wanted.shape:
        return False
    flags = array.flags
    return bool(flags.c_contiguous and flags.aligned and (flags.writeable or not wanted.written))


def _brought(argument: str, shapes: Any, dtypes: Any, written: bool = False) -> Any:
    """The array of an argument, or a dict of its arrays."""
    if isinstance(shapes, dict):
        return {field: Brought(argument, field, shape, dtypes[field] if isinstance(dtypes, dict) else dtypes, written)
                for field, shape in shapes.items()}  # fmt: skip
    return Brought(argument, "", shapes, dtypes, written)


def _plan(network: Network, gradient: bool) -> Plan:
    """Copy the input in, run the network, copy the output out; with ``gradient``, the same backward."""
    plan = Plan(network.dtype, training=False, differentiate=gradient, learn=False)
    places = itertools.count(1)

    def rows(shape: Any, dtype: str = network.dtype) -> Array:
        return Array.rows(shape, dtype)

    def caller(array: Array) -> Argument:
        return Argument(next(places), prod(array.shape), array.dtype)

    def move(function: Any, *operands: Any) -> None:
        plan.instructions.append(Instruction(function, operands, "caller", "data"))

    def bring(array: Array) -> None:
        move(copy, caller(array), array.flat())

    x = each(rows, network.in_shape, network.input_dtype)
    each(bring, x)
    out = plan.run(network.placed(), x)
    each(lambda array: move(copy_unless_stopped, array.flat(), Control(), caller(array)), out)
    if gradient:
        grad_out = each(rows, network.out_shape)
        each(bring, grad_out)
        grad_x = plan.backward(grad_out, to_input=True)
        each(lambda array: move(copy, array.flat(), caller(array)), grad_x)
    return plan
