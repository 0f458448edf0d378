"""A trained net as a function inside other compiled code."""

from __future__ import annotations

from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import readers
from nnkit.core.fields import require_plain
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
        pointers): T is float or double, the model's dtype; ``x`` points to int64_t, where the first layer takes whole numbers.
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
        first = next(readers(network.root)).built.layer
        require_plain(network.in_shape, network.out_shape, repr(self))
        real, whole = network.dtype, network.input_dtype != network.dtype
        if gradient and whole:
            raise NativeError(f"{self!r}: expected an input of real numbers, got {first!r}, which takes whole numbers: they "
                              "have no gradient; leave gradient out")  # fmt: skip
        if network.looks_at_input:
            raise NativeError(f"{self!r}: expected a first layer that any input may be given to, got {first!r}, which has to "
                              "look at it in Python; let it say its input_limit")  # fmt: skip
        interpreted = [built.layer for built in network.leaves if built.layer.interpreted]
        if interpreted:
            raise NativeError(f"{self!r}: expected layers that are compiled, got {interpreted[0]!r}, which runs in Python; "
                              "derive it from Layer")  # fmt: skip
        x = Brought("x", network.in_shape, network.input_dtype, written=False)
        out = Brought("out", network.out_shape, real, written=True)
        grad_out = Brought("grad_out", network.out_shape, real, written=False)
        grad_x = Brought("grad_x", network.in_shape, real, written=True)
        brought = [x, out, grad_out, grad_x] if gradient else [x, out]
        plan = _plan(network, gradient)
        # More slots than threads, so that two seldom try the same one first.
        super().__init__(Program(plan.instructions, real, shards=max(16, 4 * available_threads())), brought)

    def __repr__(self) -> str:
        return self._described

    def __call__(self, x: NDArray[Any], *others: NDArray[Any]) -> None:
        """What it does in compiled code, from Python.

        Raises
        ------
        ShapeError, DataError
            Not the arrays of one row.
        """
        given = (x, *others)
        if len(given) != len(self.brought):
            names = ", ".join(item.name for item in self.brought)
            raise ShapeError(f"{self!r}: expected the arrays {names}, got {len(given)} of them")
        for array, wanted in zip(given, self.brought, strict=True):
            if not _fits(array, wanted):
                self._refuse(array, wanted)
        self._network.check_input(x[None], "x")
        self.c_function(*[array.ctypes.data for array in given])

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


def _plan(network: Network, gradient: bool) -> Plan:
    """Copy the input in, run the network, copy the output out; with ``gradient``, the same backward."""
    plan = Plan(network.dtype, training=False, differentiate=gradient, learn=False)
    size, out_size = prod(network.in_shape), prod(network.out_shape)
    x = Array.rows(network.in_shape, network.input_dtype)

    def move(function: Any, *operands: Any) -> None:
        plan.instructions.append(Instruction(function, operands, "caller", "data"))

    move(copy, Argument(1, size, network.input_dtype), x.flat())
    out = plan.run(network.placed(), x)
    result = Argument(2, out_size, network.dtype)
    move(copy_unless_stopped, out.flat(), Control(), result)
    if gradient:
        grad_out = Array.rows(network.out_shape, network.dtype)
        move(copy, Argument(3, out_size, network.dtype), grad_out.flat())
        grad_x = plan.backward(grad_out, to_input=True)
        assert grad_x is not None
        move(copy, grad_x.flat(), Argument(4, size, network.dtype))
    return plan
