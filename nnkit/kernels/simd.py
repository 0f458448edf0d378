"""Vector instructions that loops cannot express. Imported by compiled stubs only; LLVM splits wide vectors where need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nnkit.kernels.jit import ANY_ORDER, helper, shared

__all__ = ["contract32", "contract64", "correlate32", "correlate64", "transpose32", "transpose64"]

_INT64, _ADDRESS = ir.IntType(64), types.int64


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


# ----------------------------------------------------------------------------------------------- sums over many taps

# How many outputs are summed at a time: so many that none waits for the one before (4 cycles, two a cycle), and no more than
# there are registers. AVX-512 has 32 for a cache line each; AVX2 and NEON hold 6 such sums beside what goes into them.
if llvm.get_host_cpu_features().get("avx512f"):
    CONTRACTED: tuple[int, ...] = (16, 8, 6, 4, 2, 1)
    CORRELATED: dict[int, tuple[int, ...]] = {4: (4, 2, 1), 2: (8, 4, 2, 1), 1: (8, 6, 3, 1)}  # by depth
else:
    CONTRACTED = (6, 5, 4, 3, 2, 1)
    CORRELATED = {2: (3, 2, 1), 1: (6, 3, 2, 1)}


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """A * b + c, as one instruction where there is one."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


class _Vectors:
    """A cache line of reals, and how to read and write it at an address."""

    def __init__(self, real: Any, size: int) -> None:
        self.real, self.size, self.lanes = real, size, 64 // size
        self.kind = ir.VectorType(real, self.lanes)

    def at(self, builder: Any, start: Any, *steps: tuple[Any, Any]) -> Any:
        """``start`` moved on by products of indices and strides in bytes."""
        for index, stride in steps:
            start = builder.add(start, builder.mul(index, stride))
        return start

    def load(self, builder: Any, address: Any) -> Any:
        value = builder.load(builder.inttoptr(address, self.kind.as_pointer()))
        value.align = self.size
        return value

    def store(self, builder: Any, value: Any, address: Any) -> None:
        builder.store(value, builder.inttoptr(address, self.kind.as_pointer())).align = self.size

    def everywhere(self, builder: Any, address: Any) -> Any:
        """The number at an address, in all lanes."""
        number = builder.load(builder.inttoptr(address, self.real.as_pointer()))
        nothing = ir.Constant(self.kind, ir.Undefined)
        first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes))


def _repeat(b: Any, widths: Sequence[int], width: Any, emit: Callable[[int, Any], None]) -> None:
    """Emit loops over ``width`` outputs in tiles of these widths, the widest first and as often as they fit.

    One to three sums at the end would wait for each other: wide tiles leave none such.
    """
    done = ir.Constant(_INT64, 0)
    for wide in widths:
        size = ir.Constant(_INT64, wide)
        left = b.sub(width, done)
        count = b.udiv(left, size)
        if wide > 4:
            rest = b.urem(left, size)
            few = b.icmp_unsigned("<", b.sub(rest, ir.Constant(_INT64, 1)), ir.Constant(_INT64, 3))
            spared = b.and_(few, b.icmp_unsigned(">", count, ir.Constant(_INT64, 0)))
            count = b.sub(count, b.zext(spared, _INT64))
        with cgutils.for_range(b, count) as loop:
            emit(wide, b.add(done, b.mul(loop.index, size)))
        done = b.add(done, b.mul(count, size))


def _contract(real: Any, size: int) -> Any:
    """`nnkit.kernels.taps.contract` for reals of ``size`` bytes."""
    vectors = _Vectors(real, size)

    def tile(b: Any, width: int, x: Any, x_steps: Any, weight: Any, w_steps: Any, counts: Any, out: Any, step: Any) -> None:
        """``width`` outputs, held in registers."""
        places = [vectors.at(b, out, (ir.Constant(_INT64, k), step)) for k in range(width)]
        sums = [cgutils.alloca_once_value(b, vectors.load(b, place)) for place in places]
        with cgutils.for_range(b, counts[0]) as one:
            x_one, w_one = vectors.at(b, x, (one.index, x_steps[0])), vectors.at(b, weight, (one.index, w_steps[0]))
            with cgutils.for_range(b, counts[1]) as two:
                x_two, w_two = vectors.at(b, x_one, (two.index, x_steps[1])), vectors.at(b, w_one, (two.index, w_steps[1]))
                with cgutils.for_range(b, counts[2]) as three:
                    values = vectors.load(b, vectors.at(b, x_two, (three.index, x_steps[2])))
                    w_three = vectors.at(b, w_two, (three.index, w_steps[2]))
                    for k in range(width):
                        factor = vectors.everywhere(b, vectors.at(b, w_three, (ir.Constant(_INT64, k), w_steps[3])))
                        b.store(_multiply_add(b, values, factor, b.load(sums[k])), sums[k])
        for k in range(width):
            vectors.store(b, b.load(sums[k]), places[k])

    @intrinsic
    def in_tiles(typing, x, x_steps, weight, w_steps, counts, out, step, width):
        def generate(context, b, signature, args):
            x, x_steps, weight, w_steps, counts, out, step, width = args
            x_steps, w_steps, counts = (cgutils.unpack_tuple(b, item) for item in (x_steps, w_steps, counts))

            def emit(wide: int, done: Any) -> None:
                begin, place = vectors.at(b, weight, (done, w_steps[3])), vectors.at(b, out, (done, step))
                tile(b, wide, x, x_steps, begin, w_steps, counts, place, step)

            _repeat(b, CONTRACTED, width, emit)
            return context.get_dummy_value()

        three, four = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 4)
        return types.void(_ADDRESS, three, _ADDRESS, four, three, _ADDRESS, types.int64, types.int64), generate

    @shared
    def at_addresses(x, x_steps, weight, w_steps, counts, out, step, width):
        in_tiles(x, x_steps, weight, w_steps, counts, out, step, width)

    @helper
    def contract(x, start, x_steps, weight, begin, w_steps, counts, out, place, step, width):
        x_steps = (size * x_steps[0], size * x_steps[1], size * x_steps[2])
        w_steps = (size * w_steps[0], size * w_steps[1], size * w_steps[2], size * w_steps[3])
        at_addresses(x.ctypes.data + size * start, x_steps, weight.ctypes.data + size * begin, w_steps,
                     (counts[0], counts[1], counts[2]), out.ctypes.data + size * place, size * step, width)  # fmt: skip

    return contract


def _correlate(real: Any, size: int) -> Any:
    """`nnkit.kernels.taps.correlate` for reals of ``size`` bytes."""
    vectors = _Vectors(real, size)

    def tile(b: Any, width: int, depth: int, d: Any, d_steps: Any, x: Any, x_steps: Any, counts: Any, out: Any,
             out_steps: Any) -> None:  # fmt: skip
        """``width`` x ``depth`` outputs, held in registers."""
        zero = ir.Constant(vectors.kind, [0.0] * vectors.lanes)
        sums = [[cgutils.alloca_once_value(b, zero) for _ in range(depth)] for _ in range(width)]
        with cgutils.for_range(b, counts[0]) as one:
            d_one, x_one = vectors.at(b, d, (one.index, d_steps[1])), vectors.at(b, x, (one.index, x_steps[1]))
            with cgutils.for_range(b, counts[1]) as two:
                d_two, x_two = vectors.at(b, d_one, (two.index, d_steps[2])), vectors.at(b, x_one, (two.index, x_steps[2]))
                values = [vectors.load(b, vectors.at(b, x_two, (ir.Constant(_INT64, t), x_steps[0]))) for t in range(depth)]
                for k in range(width):
                    factor = vectors.load(b, vectors.at(b, d_two, (ir.Constant(_INT64, k), d_steps[0])))
                    for t in range(depth):
                        b.store(_multiply_add(b, factor, values[t], b.load(sums[k][t])), sums[k][t])
        kind = ir.FunctionType(vectors.real, [vectors.real, vectors.kind])
        name = f"llvm.vector.reduce.fadd.v{vectors.lanes}f{8 * vectors.size}"
        add_lanes = cgutils.get_or_insert_function(b.module, kind, name)
        for k in range(width):
            for t in range(depth):
                address = vectors.at(b, out, (ir.Constant(_INT64, k), out_steps[0]), (ir.Constant(_INT64, t), out_steps[1]))
                place = b.inttoptr(address, vectors.real.as_pointer())
                b.store(b.call(add_lanes, [b.load(place), b.load(sums[k][t])], **ANY_ORDER), place)

    @intrinsic
    def in_tiles(typing, d, d_steps, x, x_steps, counts, out, out_steps, sizes):
        def generate(context, b, signature, args):
            d, d_steps, x, x_steps, counts, out, out_steps, sizes = args
            d_steps, x_steps, counts, out_steps, sizes = (
                cgutils.unpack_tuple(b, item) for item in (d_steps, x_steps, counts, out_steps, sizes)
            )

            def deep(depth: int, t: Any) -> None:
                def wide(width: int, k: Any) -> None:
                    place = vectors.at(b, out, (k, out_steps[0]), (t, out_steps[1]))
                    d_at, x_at = vectors.at(b, d, (k, d_steps[0])), vectors.at(b, x, (t, x_steps[0]))
                    tile(b, width, depth, d_at, d_steps, x_at, x_steps, counts, place, out_steps)

                _repeat(b, CORRELATED[depth], sizes[0], wide)

            _repeat(b, list(CORRELATED), sizes[1], deep)
            return context.get_dummy_value()

        two, three = types.UniTuple(types.int64, 2), types.UniTuple(types.int64, 3)
        return types.void(_ADDRESS, three, _ADDRESS, three, two, _ADDRESS, two, two), generate

    @shared
    def at_addresses(d, d_steps, x, x_steps, counts, out, out_steps, sizes):
        in_tiles(d, d_steps, x, x_steps, counts, out, out_steps, sizes)

    @helper
    def correlate(d, start, d_steps, x, begin, x_steps, counts, out, place, out_steps, sizes):
        d_steps = (size * d_steps[0], size * d_steps[1], size * d_steps[2])
        x_steps = (size * x_steps[0], size * x_steps[1], size * x_steps[2])
        out_steps = (size * out_steps[0], size * out_steps[1])
        at_addresses(d.ctypes.data + size * start, d_steps, x.ctypes.data + size * begin, x_steps, (counts[0], counts[1]),
                     out.ctypes.data + size * place, out_steps, (sizes[0], sizes[1]))  # fmt: skip

    return correlate


contract32, contract64 = _contract(ir.FloatType(), 4), _contract(ir.DoubleType(), 8)
correlate32, correlate64 = _correlate(ir.FloatType(), 4), _correlate(ir.DoubleType(), 8)
