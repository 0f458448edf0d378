"""The derivative of an activation function, by its own kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.part import kernel_names
from nnkit.engine.lazy import lazy
from nnkit.engine.operands import Array
from nnkit.engine.program import Instruction, Program
from nnkit.kernels.control import Word

__all__ = ["Slopes"]

SATURATED = 0.01  # of the largest slope: a tanh beyond 3, a sigmoid beyond 6
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
        kernel = self._layer.kernels()[stage]
        given = {name: replace(Array.view(array), shape=(), batched=True) for name, array in arrays.items()}
        operands = tuple(given[name] if name in given else self._layer.operand(name, self._dtype)
                         for name in kernel_names(kernel))  # fmt: skip
        instruction = Instruction(kernel, operands, repr(self._layer), stage, self._layer.interpreted)
        program = Program([instruction], self._dtype, python=self._python)
        program.controls[0, Word.ROWS] = next(iter(arrays.values())).size
        program.run()
