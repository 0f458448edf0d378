"""A trained net as a function inside other compiled code."""

from __future__ import annotations

from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import readers
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
    """A model's outputs for one row, in evaluation mode; made by `Sequential.as_function`, which says how it is used.

    Parameters
    ----------
    network : its arrays live as long as this function
    gradient : whether it also gives the gradient of the input

    Attributes
    ----------
    address : a C function pointer to the same
    """

    def __init__(self, network: Network, gradient: bool = False) -> None:
        self._described = f"{network!r}.as_function({'gradient=True' * gradient})"
        self._network = network
        first = next(readers(network.root)).layer
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
