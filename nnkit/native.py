"""A trained net as a function inside other compiled code."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.engine.operands import Argument, Array, Constant, Control
from nnkit.engine.outside import Brought, NativeFunction
from nnkit.engine.program import Instruction, Program
from nnkit.engine.workers import available_threads
from nnkit.errors import DataError, NativeError, ShapeError
from nnkit.kernels.data import copy, copy_numbers, copy_unless_stopped
from nnkit.planner import Plan

if TYPE_CHECKING:
    from nnkit.model import Sequential

__all__ = ["RowFunction"]


class RowFunction(NativeFunction):
    """A model's outputs for one row, in evaluation mode; made by `Sequential.as_function`, which says how it is used.

    Parameters
    ----------
    model : built; its arrays live as long as this function
    gradient : whether it also gives the gradient of the input

    Attributes
    ----------
    address : a C function pointer to the same
    """

    def __init__(self, model: Sequential, gradient: bool = False) -> None:
        self._described = f"{model!r}.as_function({'gradient=True' * gradient})"
        self._first = first = model.leaves[0].layer
        real, whole = model.dtype, model.input_dtype != model.dtype
        if gradient and whole:
            raise NativeError(f"{self!r}: expected an input of real numbers, got {first!r}, which takes whole numbers: they "
                              "have no gradient; leave gradient out")  # fmt: skip
        looked_at = type(first).check_input is not Layer.check_input
        if (looked_at or whole) and not (whole and first.input_limit):
            raise NativeError(f"{self!r}: expected a first layer that any input may be given to, got {first!r}, which has to "
                              "look at it in Python; let it say its input_limit")  # fmt: skip
        interpreted = [built.layer for built in model.leaves if built.layer.interpreted]
        if interpreted:
            raise NativeError(f"{self!r}: expected layers that are compiled, got {interpreted[0]!r}, which runs in Python; "
                              "derive it from Layer")  # fmt: skip
        x = Brought("x", model.in_shape, model.input_dtype, written=False)
        out = Brought("out", model.out_shape, real, written=True)
        grad_out = Brought("grad_out", model.out_shape, real, written=False)
        grad_x = Brought("grad_x", model.in_shape, real, written=True)
        brought = [x, out, grad_out, grad_x] if gradient else [x, out]
        plan = _plan(model, gradient, Constant(first.input_limit, "int64") if whole else None)
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
        if self._first.input_limit:
            self._first.check_input(x[None], "x")
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


def _plan(model: Sequential, gradient: bool, limit: Constant | None) -> Plan:
    """Copy the input in, run the model, copy the output out; with ``gradient``, the same backward.

    ``limit`` : of an input of whole numbers.
    """
    plan = Plan(model.dtype, training=False, differentiate=gradient, learn=False)
    size, out_size = prod(model.in_shape), prod(model.out_shape)
    x = Array.rows(model.in_shape, model.input_dtype)

    def move(function: Any, *operands: Any) -> None:
        plan.instructions.append(Instruction(function, operands, "caller", "data"))

    given = Argument(1, size, model.input_dtype)
    move(copy, given, x.flat()) if limit is None else move(copy_numbers, given, limit, Control(), x.flat())
    out = plan.run(model.placed(), x)
    result = Argument(2, out_size, model.dtype)
    move(copy, out.flat(), result) if limit is None else move(copy_unless_stopped, out.flat(), Control(), result)
    if gradient:
        grad_out = Array.rows(model.out_shape, model.dtype)
        move(copy, Argument(3, out_size, model.dtype), grad_out.flat())
        grad_x = plan.backward(grad_out, to_input=True)
        assert grad_x is not None
        move(copy, grad_x.flat(), Argument(4, size, model.dtype))
    return plan
