"""The derivative of an activation function, by its own kernels."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.part import kernel_names
from nnkit.engine.lazy import lazy
from nnkit.engine.operands import Array
from nnkit.engine.program import Instruction, Program
from nnkit.errors import KernelError
from nnkit.kernels.control import Word

__all__ = ["Slopes", "jacobian"]

SATURATED = 0.01  # of the largest slope: a tanh beyond 3, a sigmoid beyond 6
LONGEST = 64  # numbers of a row of which all derivatives by each other are computed
REACH = 8.0  # how far from 0 the largest slope is looked for


class Slopes:
    """The derivative of an activation, s'(z) for each z: what its own backward kernel makes of a gradient of ones."""

    def __init__(self, layer: Activation, dtype: str, python: bool = False) -> None:
        self._layer, self._dtype, self._python = layer, dtype, python

    @lazy
    def _usual(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sizes of the slope over the range that is in use, and the standard normal density there."""
        low, high = max(-REACH, self._layer.domain[0]), min(REACH, self._layer.domain[1])
        z = np.linspace(low, high, 1601).astype(self._dtype)
        out = np.empty_like(z)
        self._run("forward", x=z, out=out)
        return np.abs(self(z, out).astype(float)), np.exp(-0.5 * np.square(z, dtype=float))

    @lazy
    def low(self) -> float:
        """Slopes below this are those of a saturated function."""
        sizes, _ = self._usual
        return SATURATED * float(sizes[np.isfinite(sizes)].max(initial=0.0))

    @lazy
    def ordinary(self) -> float:
        """How large a share of standard normal z has such slopes."""
        sizes, normal = self._usual
        return float(normal[sizes < self.low].sum() / normal.sum())

    def __call__(self, z: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        z, out = np.ascontiguousarray(z), np.ascontiguousarray(out)
        slope = np.empty_like(z)
        self._run("backward", x=z, out=out, grad_out=np.ones_like(z), grad_x=slope)
        return slope

    def _run(self, stage: str, **arrays: NDArray[Any]) -> None:
        _run(self._layer, stage, (), self._python, **arrays)


def jacobian(layer: Activation, z: NDArray[Any], out: NDArray[Any]) -> NDArray[Any] | None:
    """The derivatives of an activation of whole rows, da_k/dz_j for each row: (N, K, K), by its own backward kernel.

    None where rows are not flat, or longer than 64, or where the kernel works on more than them.
    """
    if z.ndim != 2 or z.shape[1] > LONGEST:
        return None
    rows, size = z.shape
    grad_out = np.tile(np.eye(size, dtype=z.dtype), (rows, 1))  # of each row one pass for each k
    slopes = np.empty_like(grad_out)
    try:
        _run(layer, "backward", (size,), x=np.repeat(z, size, axis=0), out=np.repeat(out, size, axis=0), grad_out=grad_out,
             grad_x=slopes)  # fmt: skip
    except KernelError:
        return None
    return slopes.reshape(rows, size, size)


def _run(layer: Activation, stage: str, shape: tuple[int, ...], python: bool = False, **arrays: NDArray[Any]) -> None:
    """Run a kernel on rows of a shape."""
    kernel, first = layer.kernels()[stage], next(iter(arrays.values()))
    dtype = first.dtype.name
    given = {name: replace(Array.view(array), shape=shape, batched=True) for name, array in arrays.items()}
    operands = tuple(given[name] if name in given else layer.operand(name, dtype) for name in kernel_names(kernel))
    program = Program([Instruction(kernel, operands, repr(layer), stage, layer.interpreted)], dtype, python=python)
    program.controls[0, Word.ROWS] = first.size // prod(shape)
    program.run()
