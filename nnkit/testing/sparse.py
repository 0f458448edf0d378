"""A layer at work on a sparse matrix, beside its work on the same numbers in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnkit.core.part import Example
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array
from nnkit.engine.program import Program
from nnkit.engine.runner import Runner
from nnkit.kernels.control import Word
from nnkit.planner import Plan
from nnkit.testing.bench import Bench, parameter_gradients
from nnkit.testing.part import SEED, Arrays
from nnkit.training.data import SparseSource, to_rows

__all__ = ["SparseBatch", "sparse_benches"]

ORDER = (4, 1, 6, 0, 2, 5, 3)  # which rows of the matrix the batch takes


def sparse_benches(example: Example, dtype: str = "float64") -> Iterator[tuple[Bench, Any]]:
    """Matrices in CSR format, each with the same rows in full; none for a layer that does not read such matrices.

    In the first one, some rows are empty, some have their columns in no order, or a column twice, which then counts as the sum.
    The second one is empty.
    """
    if type(example.part).forward_csr is None or len(example.in_shape) != 1:
        return
    from scipy.sparse import csr_array

    (columns,), random = example.in_shape, np.random.default_rng(SEED)
    several = random.permutation(columns).tolist()
    rows: list[list[int]] = [[], several[::-1], [0, columns - 1, 0], [columns - 1], several[: columns // 2 + 1], [0], []]
    empty: list[list[int]] = [[] for _ in rows]
    for found in (rows, empty):
        ends = np.cumsum([0, *map(len, found)])
        numbers = random.uniform(example.low, example.high, ends[-1])
        matrix = csr_array((numbers, np.concatenate(found).astype(np.int64), ends), shape=(len(rows), columns))
        bench = Bench(example, dtype, rows=len(rows))
        bench.x[...] = matrix.toarray()[list(ORDER)]
        yield bench, matrix


class SparseBatch:
    """A forward and a backward pass of a layer's kernels for sparse matrices, on memory of its own."""

    def __init__(self, bench: Bench, matrix: Any, python: bool = True) -> None:
        network = bench.network
        source = SparseSource(to_rows(matrix, "x"), network.dtype)
        self._vector = aligned_zeros(network.gradient.size, network.dtype)
        self._vector[:] = np.nan
        self._plan = plan = Plan(network.dtype, training=True, differentiate=True)
        self._x, grad_out = source.input(network.in_shape, network.input_dtype), Array.rows(network.out_shape, network.dtype)
        self._out = plan.run(network.placed(self._vector, source), self._x)
        plan.backward(grad_out)
        outside = [self._x, self._out, grad_out]
        self.program = Program(plan.instructions, network.dtype, rows=len(ORDER), python=python, poison=255, outside=outside)
        self.program.controls[0, Word.ROWS] = len(ORDER)
        self.program.array(grad_out)[...] = bench.grad_out
        self._runner = Runner(self.program, len(ORDER))

    def run(self) -> Arrays:
        """The output, and the gradients of the parameters."""
        self.program.array(self._x)[...] = ORDER
        self._runner.order(0, len(ORDER), 0, 0, 0)
        self._runner.run(0, 1)
        gradients = {name: self.program.array(operand).copy() for name, operand in parameter_gradients(self._plan).items()}
        return {"out": self.program.array(self._out).copy(), **gradients}
