"""Vector instructions that loops cannot express. Imported by compiled stubs only; LLVM splits wide vectors where need be."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnkit.kernels.jit import helper

__all__ = ["transpose32", "transpose64"]

_INT64 = ir.IntType(64)


def _block_transposer(real: Any, size: int) -> Any:
    """An intrinsic that transposes a block of 64 bytes x as many rows; addresses, strides and ``size`` are in bytes."""
    lanes = 64 // size
    vector = ir.VectorType(real, lanes)
    indices = ir.VectorType(ir.IntType(32), lanes)

    def mask(chosen: list[int]) -> Any:
        return ir.Constant(indices, [ir.Constant(ir.IntType(32), index) for index in chosen])

    def place(builder: Any, start: Any, stride: Any, row: int) -> Any:
        address = builder.add(start, builder.mul(stride, ir.Constant(_INT64, row)))
        return builder.inttoptr(address, vector.as_pointer())

    @intrinsic
    def transpose_block(typing, source, source_stride, target, target_stride):
        def generate(context, builder, signature, args):
            rows = [builder.load(place(builder, args[0], args[1], row)) for row in range(lanes)]
            for row in rows:
                row.align = size
            step = 1
            while step < lanes:  # swap the off-diagonal quarters of all 2 step x 2 step blocks (Eklundh 1972)
                low = mask([i if not i & step else lanes + i - step for i in range(lanes)])
                high = mask([i + step if not i & step else lanes + i for i in range(lanes)])
                for row in range(lanes):
                    if not row & step:
                        pair = rows[row], rows[row + step]
                        rows[row] = builder.shuffle_vector(*pair, low)
                        rows[row + step] = builder.shuffle_vector(*pair, high)
                step *= 2
            for row in range(lanes):
                builder.store(rows[row], place(builder, args[2], args[3], row)).align = size
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return transpose_block


def _transposer(real: Any, size: int) -> Any:
    """Target = source.T, both C-contiguous matrices of numbers of ``size`` bytes."""
    transpose_block = _block_transposer(real, size)
    lanes = 64 // size

    @helper
    def transpose(source, target):
        rows, columns = source.shape
        whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
        for i in range(0, whole_rows, lanes):
            for j in range(0, whole_columns, lanes):
                start = source.ctypes.data + size * (i * columns + j)
                end = target.ctypes.data + size * (j * rows + i)
                transpose_block(start, size * columns, end, size * rows)
        for i in range(rows):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                target[j, i] = source[i, j]

    return transpose


transpose32 = _transposer(ir.FloatType(), 4)
transpose64 = _transposer(ir.DoubleType(), 8)
